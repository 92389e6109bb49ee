"""Samples are drawn at random from the whole of the data, which is left as it was."""

import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, SubsetRandomSampler

from pytest_quant.subject.shift.drawn import SAMPLES, Unread, drawn
from pytest_quant.subject.shift.traits import traits_of
from pytest_quant.subject.shift.unmoved import unmoved


class Numbers(Dataset):
    """Sample i is i, as a row of two, with its target."""

    def __init__(self, count):
        self.count, self.read = count, 0

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.read += 1
        return torch.full((2,), float(index)), 0


class Stream(IterableDataset):
    def __init__(self, count):
        self.count, self.passes = count, 0

    def __iter__(self):
        self.passes += 1
        return ((torch.full((2,), float(i)), 0) for i in range(self.count))


def read(data, **settings):
    return sorted(float(row[0]) for inputs, _ in drawn(data, "data", **settings) for row in inputs)


def batches(count, size):
    return [(torch.arange(i, i + size).float()[:, None], None) for i in range(0, count, size)]


SORTED = {
    "a list": lambda: batches(2000, 50),
    "one large batch": lambda: batches(2000, 2000),
    "a dataset": lambda: Numbers(2000),
    "a loader": lambda: DataLoader(Numbers(2000), batch_size=64),
    "a shuffling loader": lambda: DataLoader(Numbers(2000), batch_size=64, shuffle=True),
    "a batch sampler": lambda: DataLoader(
        Numbers(2000), batch_sampler=[list(range(i, i + 8)) for i in range(0, 2000, 8)]
    ),
    "a loader without batches": lambda: DataLoader(batches(2000, 5), batch_size=None),
    "single samples": lambda: [(torch.full((2,), float(i)), i % 7) for i in range(2000)],
    "a stream of single samples": lambda: Stream(2000),
    "a stream": lambda: DataLoader(Stream(2000), batch_size=64),
    "a stream of workers": lambda: DataLoader(Stream(2000), batch_size=64, num_workers=2),
}


@pytest.mark.parametrize("name", SORTED)
def test_of_sorted_data_samples_come_from_the_whole(name):
    seen = read(SORTED[name]())
    assert len(set(seen)) >= 190
    assert seen[len(seen) // 10] < 500 < 1500 < seen[-len(seen) // 10]


def test_only_what_a_sampler_names_is_read():
    loader = DataLoader(Numbers(100), batch_size=4, sampler=SubsetRandomSampler(range(40, 60)))
    assert read(loader) == [float(i) for i in range(40, 60)]


def test_a_sampler_of_ones_own_counts_on_as_if_nobody_had_looked():
    class Epochs:
        def __init__(self):
            self.epoch = 0

        def __iter__(self):
            self.epoch += 1
            return iter(np.random.default_rng(self.epoch).permutation(50).tolist())

        def __len__(self):
            return 50

    loader = DataLoader(Numbers(50), batch_size=5, sampler=Epochs())
    read(loader)
    assert loader.sampler.epoch == 0
    assert loader.dataset.read == 0


@pytest.mark.parametrize(
    "generator", [np.random.default_rng(0), np.random.RandomState(0), random.Random(0)]
)
def test_generators_that_a_dataset_holds_are_left_where_they_were(generator):
    class Noisy(Numbers):
        def __init__(self):
            super().__init__(40)
            self.transforms = [generator]

        def __getitem__(self, index):
            return torch.full((2,), generator.normal() if hasattr(generator, "normal") else
                              generator.gauss(0, 1)), 0  # fmt: skip

    data = DataLoader(Noisy(), batch_size=4)
    with unmoved(data):
        first = read(data)
    assert read(data) == first


class SharedPass:
    """Gives the same iterator again, as a file does."""

    def __init__(self, count):
        self.own = iter(batches(count, 10))

    def __iter__(self):
        return self.own


def test_what_can_be_read_once_only_is_not_used_up():
    shared = SharedPass(100)
    with pytest.raises(Unread):
        read(shared)
    assert len(list(shared)) == 10


def test_of_a_stream_that_is_too_long_nothing_is_said():
    with pytest.raises(Unread):
        read(DataLoader(Stream(10**6), batch_size=1), seconds=0.05)


def test_a_slow_dataset_is_left_when_the_time_is_up():
    assert 0 < len(read(Numbers(10**6), seconds=0.0)) < SAMPLES


def test_a_large_loader_costs_no_more_than_its_samples():
    data = Numbers(10**6)
    traits_of(drawn(DataLoader(data, batch_size=512), "data"), SAMPLES)
    assert data.read == 0  # a copy counts
