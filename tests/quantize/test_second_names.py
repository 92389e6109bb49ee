"""Second names: one layer in two places becomes one int8 layer, in both of them."""

import pytest
import torch
from quantizable import built, decibels, made, numbers
from torch import nn
from torch.ao.quantization import DeQuantStub, QuantStub

from pytest_quant import Recipe
from pytest_quant.quantize.second_names import second_names, share_again

LAYER, HEAD = 8 * 8, 8 * 32 + 32 * 4
CHANNELS = 8 + 32 + 4
PARAMETERS = LAYER + HEAD + CHANNELS


class Inner(nn.Module):
    """What holds a layer of its own."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x):
        return self.layer(x)


class Twice(nn.Module):
    """One layer under two names of one module, or one module of it in two places."""

    def __init__(self, deep=False, stubs=False):
        super().__init__()
        self.quant, self.dequant = (QuantStub(), DeQuantStub()) if stubs else (nn.Identity(),) * 2
        self.one = Inner() if deep else nn.Linear(8, 8)
        self.again, self.fc = self.one, nn.Sequential(nn.Linear(8, 32), nn.Linear(32, 4))

    def forward(self, x):
        return self.dequant(self.fc(self.again(torch.relu(self.one(self.quant(x))))))


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(
    ("recipe", "stubs"),
    [
        (Recipe("dynamic"), False),
        (Recipe("static"), False),
        (Recipe("static", flow="parts"), False),
        (Recipe("static", flow="eager"), True),
        (Recipe("qat", flow="eager"), True),
        (Recipe("weight_only"), False),
    ],
    ids=lambda value: value.label if isinstance(value, Recipe) else None,
)
def test_a_layer_in_two_places_is_int8_in_both_and_stored_once(recipe, stubs, deep):
    variant = built(made(Twice, deep=deep, stubs=stubs), recipe, numbers)
    share = variant.int8_share
    assert share.parameters == (LAYER + HEAD) / PARAMETERS
    assert (share.macs, share.stayed_fp32) == (1.0, ())
    scales = 7 * 12  # of activations, at most
    assert variant.size.tensor_bytes <= LAYER + HEAD + CHANNELS * (4 + 16) + scales
    assert decibels(variant) > (8 if recipe.kind == "qat" else 25)


@pytest.mark.parametrize("deep", [False, True])
def test_the_second_name_keeps_it_fp32_as_the_first_one_does(deep):
    for name in ("one", "again"):
        recipe = Recipe("dynamic", keep_fp32=name)
        share = built(made(Twice, deep=deep), recipe, numbers).int8_share
        assert share.parameters == HEAD / PARAMETERS
        assert share.stayed_fp32 == ("one.layer" if deep else "one",)


def test_int8_at_one_place_and_float_at_the_other_is_no_int8_layer():
    """As PyTorch's own `quantize_dynamic` leaves it: the second name is not swapped."""

    def build(module):
        return torch.ao.quantization.quantize_dynamic(module, {nn.Linear})

    variant = built(made(Twice), Recipe("custom", build=build), numbers)
    assert type(variant.model.again) is nn.Linear
    share = variant.int8_share
    assert share.parameters == HEAD / PARAMETERS
    assert share.macs == HEAD / (2 * LAYER + HEAD)
    assert share.stayed_fp32 == ("one",)


def test_names_are_told_apart_by_the_module_that_they_lead_to():
    model = Twice(deep=True)
    assert second_names(model) == {"dequant": "quant", "again": "one", "again.layer": "one.layer"}
    names, model.one = second_names(model), nn.Identity()
    share_again(model, {"again": names["again"]})
    assert model.again is model.one
