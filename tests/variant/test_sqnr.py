"""SQNR in decibels, by hand-computed numbers."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pytest_quant.variant.sqnr import sqnr


def test_a_tenth_of_the_signal_is_twenty_decibels():
    x = torch.full((5,), 10.0)
    assert sqnr(x, x + 1) == pytest.approx(20)


def test_all_tensors_of_a_nest_count_together():
    x = {"logits": torch.tensor([3.0]), "hidden": (torch.tensor([4.0]),)}
    y = {"logits": torch.tensor([3.0]), "hidden": (torch.tensor([4.5]),)}
    assert sqnr(x, y) == pytest.approx(20)  # |x| = 5, |x - y| = 0.5


def test_output_objects_and_integers():
    x = SimpleNamespace(logits=torch.tensor([1.0]), ids=torch.tensor([1]))
    y = SimpleNamespace(logits=torch.tensor([1.1]), ids=torch.tensor([7]))
    assert sqnr(x, y) == pytest.approx(20, abs=1e-5)


def test_the_ends_of_the_scale():
    x = torch.ones(3)
    assert sqnr(x, x) == math.inf
    assert sqnr(x, torch.full((3,), math.nan)) == -math.inf
    assert sqnr(torch.zeros(3), x) == -math.inf


def test_arrays_count_as_tensors_do():
    x, y = np.full(5, 10.0, dtype=np.float32), np.full(5, 11.0, dtype=np.float32)
    assert sqnr(x, y) == pytest.approx(20)
    assert sqnr({"out": x, "ids": np.arange(3)}, {"out": y, "ids": np.ones(3, int)}) == (
        pytest.approx(20)
    )
    assert sqnr(x, torch.from_numpy(y)) == pytest.approx(20)


@pytest.mark.parametrize("form", [lambda z: z, lambda z: z.conj(), lambda z: z.numpy()])
def test_complex_numbers_count_by_their_distance(form):
    x = torch.full((5,), 3.0 + 4.0j)
    assert sqnr(form(x), form(x + 0.3 - 0.4j)) == pytest.approx(20)
