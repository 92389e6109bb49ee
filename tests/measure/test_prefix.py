"""Prefix: the samples that a loader gives, in another order; or a note that says why not."""

import pytest
import torch
from builders import ONE_THREAD, toy_variant
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from pytest_quant import Recipe
from pytest_quant.judge.accuracy_drop import judge_drop
from pytest_quant.judge.early import tell_evaluated_whole
from pytest_quant.measure.prefix import prefix_of
from pytest_quant.subject.digests import digests

COUNT, SIZE = 50, 8
INPUTS = torch.randn(COUNT, 8, generator=torch.Generator().manual_seed(4))
DATA = TensorDataset(INPUTS, INPUTS[:, :3].argmax(1))
SEEN = dict(zip(digests(INPUTS, COUNT), range(COUNT), strict=True))


def prefix(data):
    variant = toy_variant("dynamic", eval_data=data)
    return prefix_of(variant, ONE_THREAD), variant


def drawn(data):
    """Which samples the prefix goes through, in its order."""
    found, _ = prefix(data)
    batches, seen = 0, []
    while found.seen < found.samples:
        seen += [SEEN[each] for each in found.batch(batches).inputs]
        batches += 1
    return seen


class Sampler:
    """Gives these indices."""

    def __init__(self, indices):
        self.indices = indices

    def __iter__(self):
        return iter(self.indices)

    def __len__(self):
        return len(self.indices)


LOADERS = {
    "a dataset": (lambda: DATA, range(COUNT)),
    "in order": (lambda: DataLoader(DATA, SIZE), range(COUNT)),
    "shuffled": (lambda: DataLoader(DATA, SIZE, shuffle=True), range(COUNT)),
    "a subset": (
        lambda: DataLoader(DATA, SIZE, sampler=SubsetRandomSampler(range(9, 30))),
        range(9, 30),
    ),
    "an own sampler": (lambda: DataLoader(DATA, SIZE, sampler=Sampler([3, 1, 3, 7])), [1, 3, 3, 7]),
    "without the rest": (lambda: DataLoader(DATA, SIZE, drop_last=True), range(48)),
}


@pytest.mark.parametrize("name", LOADERS)
def test_a_prefix_holds_what_the_loader_gives(name):
    make, expected = LOADERS[name]
    seen = drawn(make())
    assert sorted(seen) == list(expected)
    assert seen == drawn(make())  # fixed beforehand
    assert len(seen) < 9 or seen != sorted(seen)


class Stream(IterableDataset):
    def __iter__(self):
        return iter([DATA[i] for i in range(COUNT)])


class Own(DataLoader):
    """Leaves out what it does not like."""

    def __iter__(self):
        return (batch for batch in super().__iter__() if batch[1].sum() % 2)


class Odd(Dataset):
    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        return DATA[index]


ELSE = {
    "a list": (lambda: [DATA[:SIZE], DATA[SIZE:]], "is a list, no DataLoader"),
    "a stream": (lambda: DataLoader(Stream(), SIZE), "an IterableDataset can be read"),
    "an own loader": (lambda: Own(Odd(), SIZE), "Own has an __iter__ of its own"),
    "batches": (
        lambda: DataLoader(DATA, batch_sampler=BatchSampler(SequentialSampler(DATA), SIZE, False)),
        "a batch_sampler of its own",
    ),
    "a random rest": (
        lambda: DataLoader(DATA, SIZE, shuffle=True, drop_last=True),
        "drops its last batch",
    ),
    "weights": (
        lambda: DataLoader(DATA, SIZE, sampler=WeightedRandomSampler([1.0] * COUNT, 20)),
        "draws other samples each time",
    ),
    "with replacement": (
        lambda: DataLoader(DATA, SIZE, sampler=RandomSampler(DATA, True, 20)),
        "draws other samples each time",
    ),
}


@pytest.mark.parametrize("name", ELSE)
def test_what_cannot_be_drawn_from_is_evaluated_whole_and_said_so(name):
    make, why = ELSE[name]
    found, variant = prefix(make())
    assert found is None
    assert not any("stopped early" in each for each in variant.notes)  # nobody has asked for it
    tell_evaluated_whole(variant)
    (note,) = [each for each in variant.notes if each.startswith("not stopped early")]
    assert why in note


class Named(torch.nn.Module):
    """Names the highest of the first three inputs."""

    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(8, 3)
        self.fc.weight.data = torch.eye(3, 8)
        torch.nn.init.zeros_(self.fc.bias)

    def forward(self, x):
        return self.fc(x)


def without_class_2(module):
    module.fc.bias.data[2] -= 100.0
    return torch.ao.quantization.quantize_dynamic(module, {torch.nn.Linear}, torch.qint8)


def test_an_early_verdict_is_that_of_the_loaders_samples():
    """Of 9,000 samples the loader gives those of class 2 alone, which the variant never names."""
    inputs = torch.randn(9000, 8, generator=torch.Generator().manual_seed(6))
    targets = inputs[:, :3].argmax(1)
    given = torch.nonzero(targets == 2).flatten().tolist()
    loader = DataLoader(TensorDataset(inputs, targets), 100, sampler=SubsetRandomSampler(given))
    recipe = Recipe("custom", build=without_class_2)
    verdict = judge_drop(
        toy_variant(recipe, model=Named().eval(), eval_data=loader), 0.5, early_stop=True
    )
    assert (str(verdict.outcome), verdict.evidence["of"]) == ("FAIL", len(given))
    assert verdict.evidence["samples"] < len(given)
