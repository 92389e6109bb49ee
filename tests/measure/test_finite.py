"""Finite: NaN and infinities are found in every tensor, wherever the batch lies in it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

from pytest_quant.measure.finite import irregular

SIZE = 4
NAN, INF = float("nan"), float("inf")


def spoiled(shape, place, value=NAN, dtype=torch.float32):
    tensor = torch.zeros(shape, dtype=dtype)
    tensor[place] = value
    return tensor


def packed(place, value=NAN):
    parts = [torch.zeros(n, 2) for n in (3, 5, 1, 2)]
    parts[place][0, 1] = value
    return pack_sequence(parts, enforce_sorted=False)


def kinds(outputs):
    return [mark[:3].decode() for mark in irregular(outputs, SIZE)]


@pytest.mark.parametrize(
    "outputs",
    [
        spoiled((SIZE, 3), (2, 1)),
        spoiled((5, SIZE, 3), (4, 2, 0)),  # time first
        spoiled((5, 7, SIZE), (0, 6, 2)),
        spoiled((SIZE, 3), (2, 1), dtype=torch.bfloat16),
        spoiled((SIZE, 3), (2, 1), dtype=torch.complex64),
        (torch.zeros(SIZE, 3), spoiled((2, SIZE), (1, 2))),
        {"logits": torch.zeros(SIZE), "states": [spoiled((3, SIZE, 2), (0, 2, 0))]},
        SimpleNamespace(logits=spoiled((6, SIZE), (5, 2))),
        spoiled((SIZE, 3), (2, 1)).numpy(),
        spoiled((5, SIZE, 3), (4, 2, 0)).numpy(),
        [{"boxes": torch.zeros(n, 4), "scores": spoiled((n,), n - 1, NAN if n == 3 else 0)}
         for n in (1, 2, 3, 5)],
        [0.0, 1.0, NAN, 0.5],
        packed(2),
        spoiled((SIZE, 3), (2, 1)).to_sparse(),
    ],
)  # fmt: skip
def test_a_sample_with_nan_is_found(outputs):
    assert kinds(outputs) == ["", "", "nan", ""]


@pytest.mark.parametrize(
    "outputs", [torch.tensor(NAN), (torch.zeros(SIZE), spoiled((7, 3), 0)), {"loss": NAN}]
)
def test_nan_in_what_belongs_to_all_is_every_samples(outputs):
    assert kinds(outputs) == ["nan"] * SIZE


@pytest.mark.parametrize(
    "outputs",
    [
        torch.zeros(SIZE, 3),
        torch.arange(SIZE),
        ["a", "b", "c", "d"],
        np.array(["x"] * SIZE),
        None,
        torch.zeros(SIZE, 0),
    ],
)
def test_what_is_finite_has_no_marks(outputs):
    assert irregular(outputs, SIZE) == [b""] * SIZE


def test_the_same_infinities_have_the_same_marks():
    one, other = spoiled((5, SIZE), (1, 2), INF), spoiled((5, SIZE), (1, 2), INF)
    other += torch.where(torch.isfinite(other), 1.0, 0.0)  # other finite numbers
    assert irregular(one, SIZE) == irregular(other, SIZE)
    assert kinds(one) == ["", "", "inf", ""]
    for moved in (spoiled((5, SIZE), (2, 2), INF), spoiled((5, SIZE), (1, 2), -INF)):
        assert irregular(moved, SIZE)[2] != irregular(one, SIZE)[2]
