"""Unneeded: what outputs do not depend on, of a call's time."""

import time

import pytest
import torch

from pytest_quant.measure.unneeded import unneeded_share

X = torch.randn(600, 600)


def needed():
    return X @ X @ X


def copied_in_place():
    made = torch.empty_like(X)
    made.copy_(X @ X @ X)
    return {"made": made[:5]}


def dropped():
    _ = X @ X @ X @ X @ X
    return X @ X


def slept():
    time.sleep(0.05)
    return X @ X


@pytest.mark.parametrize(
    ("run", "low", "high"),
    [
        (needed, 0.0, 0.6),
        (copied_in_place, 0.0, 0.6),
        (dropped, 0.4, 1.0),
        (slept, 0.4, 1.0),
        (lambda: 3.0, 0.9, 1.0),
    ],
)
def test_the_share_is_what_does_not_reach_the_outputs(run, low, high):
    shares = sorted(unneeded_share(run) for _ in range(5))
    assert low <= shares[2] <= high
