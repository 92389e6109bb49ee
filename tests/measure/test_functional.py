"""A layer whose weight the model reads itself: its multiply-adds count, and it may stay FP32."""

import pytest
import torch
from builders import toy_subject, toy_variant
from torch import nn

from pytest_quant import Recipe
from pytest_quant.machine.conditions import Conditions
from pytest_quant.measure.int8_share import multiply_adds
from pytest_quant.store.open import open_store

BATCH = 16


class Reads(nn.Module):
    """8 -> 16 by a Linear that is called, -> 3 by one that is not."""

    def __init__(self, by_name=False):
        super().__init__()
        torch.manual_seed(0)
        self.called, self.read = nn.Linear(8, 16), nn.Linear(16, 3)
        self.by_name = by_name

    def forward(self, x):
        x = torch.relu(self.called(x))
        if self.by_name:
            return nn.functional.linear(x, weight=self.read.weight, bias=self.read.bias)
        return nn.functional.linear(x, self.read.weight, self.read.bias)


class Transposed(nn.Module):
    """Two layers, of which one is called twice, and their weights read by no function we know."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.first(self.first(x)) @ self.last.weight.T


class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Reads()

    def forward(self, x):
        return self.inner(x) if x.sum() != 0 else self.inner(-x)


def macs_of(module):
    return multiply_adds(open_store(Conditions(threads=1)).fp32(toy_subject(module.eval())))


def test_a_layer_that_is_read_is_counted_like_one_that_is_called():
    expected = {"called": BATCH * 8 * 16, "read": BATCH * 16 * 3}
    assert macs_of(Reads()) == expected
    assert macs_of(Reads(by_name=True)) == expected


def test_a_call_is_counted_once_and_an_unknown_operation_not_at_all():
    assert macs_of(Transposed()) == {"first": 2 * BATCH * 8 * 8}


def test_dynamic_quantization_leaves_it_fp32():
    variant = toy_variant("dynamic", model=Reads().eval())
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(variant(x), variant.fp32(x), atol=0.05)
    assert variant.int8_share.stayed_fp32 == ("read",)
    assert variant.int8_share.macs == 8 * 16 / (8 * 16 + 16 * 3)


@pytest.mark.parametrize("flow", ["fx", "parts"])
def test_static_quantization_takes_it_and_knows_whose_it_is(flow):
    model = Reads() if flow == "fx" else Outer()
    share = toy_variant(Recipe("static", flow=flow), model=model.eval()).int8_share
    assert share.stayed_fp32 == ()
    assert share.macs == 1.0


@pytest.mark.slow
def test_so_does_a_compiled_graph():
    share = toy_variant(Recipe("static", flow="pt2e"), model=Reads().eval()).int8_share
    assert share.stayed_fp32 == ()
    assert share.macs == 1.0


def test_a_layer_that_is_kept_is_not_said_to_be_int8():
    recipe = Recipe("static", flow="fx", keep_fp32="called")
    assert toy_variant(recipe, model=Reads().eval()).int8_share.stayed_fp32 == ("called",)
