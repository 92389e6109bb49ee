"""Probe: FP32's outputs and targets of any type are held against each other."""

import pytest
import torch
from builders import ONE_THREAD, batches
from torch import nn
from torch.nn import functional as F

from pytest_quant import Metric, Subject
from pytest_quant.store.open import open_store
from pytest_quant.subject.probe import Probe

UNSIGNED = [torch.uint8, torch.uint16, torch.uint32, torch.uint64]
REALS = [torch.bool, *UNSIGNED, torch.int8, torch.float16, torch.bfloat16, torch.float64]


class Scores(nn.Module):
    """Gives the first three inputs, whose highest is the target of `batches`, as another output."""

    def __init__(self, change=lambda scores: scores):
        super().__init__()
        self.change, self.body = change, nn.Linear(8, 3, bias=False)
        nn.init.eye_(self.body.weight)

    def forward(self, x):
        return self.change(self.body(x))


def door(metric, targets=lambda y: y, change=lambda scores: scores):
    """The metric as it is known at the door."""
    data = [(x, targets(y)) for x, y in batches(64)]
    subject = Subject(Scores(change), eval_data=data, metric=metric)
    (known,) = open_store(ONE_THREAD).fp32(subject).admitted.metrics
    return known


def hamming(outputs, targets):
    """Of several labels for each sample, the share that is right."""
    return ((outputs > 0.7) == targets.bool()).float().flatten(1).mean(1)


@pytest.mark.parametrize("dtype", [*REALS, torch.complex64])
@pytest.mark.parametrize("is_said", [False, True])
def test_targets_of_each_type_can_be_several_labels(dtype, is_said):
    metric = Metric(hamming, "hamming", higher_is_better=True, unit="fraction")
    known = door(metric if is_said else hamming, lambda y: F.one_hot(y, 3).to(dtype))
    assert (known.higher_is_better, known.unit) == (True, "fraction")


@pytest.mark.parametrize("dtype", REALS)
def test_targets_of_each_type_can_be_one_answer_for_each_sample(dtype):
    known = door(
        lambda o, y: ((o > 0) == y.bool()).float(),
        lambda y: (y == 1).to(dtype),
        lambda scores: scores[:, 1] - scores[:, [0, 2]].amax(1),
    )
    assert known.higher_is_better is True


@pytest.mark.parametrize("dtype", UNSIGNED)
def test_classes_of_each_type_are_classes(dtype):
    known = door(lambda o, y: o.argmax(1) == y.long(), lambda y: y.to(dtype))
    assert known.higher_is_better is True


def test_masks_are_outputs_as_well_as_targets():
    known = door(
        lambda o, y: (o == y).float().mean(1),
        lambda y: F.one_hot(y, 3).bool(),
        lambda scores: scores == scores.amax(1, keepdim=True),
    )
    assert known.higher_is_better is True


@pytest.mark.parametrize("dtype", [*REALS, torch.complex64])
def test_outputs_fit_their_own_targets_better_than_others_whatever_the_type(dtype):
    generator = torch.Generator().manual_seed(0)
    targets = torch.rand(64, 3, generator=generator).gt(0.5).to(dtype)
    assert Probe((targets.to(torch.complex64).real,), (targets,), (64,)).is_skilled() is True
    assert Probe((targets,), (targets,), (64,)).is_skilled() is True


@pytest.mark.parametrize("dtype", [*UNSIGNED, torch.int64])
def test_right_outputs_are_made_of_classes_of_each_type(dtype):
    (given,) = Probe((torch.zeros(3, 3),), (torch.tensor([2, 0, 1]).to(dtype),), (3,)).right()
    assert given.argmax(1).tolist() == [2, 0, 1]
