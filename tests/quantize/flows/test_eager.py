"""Eager: fusing, stubs, and modules that stay float among int8 ones."""

import pytest
import torch
from quantizable import (
    TWO_PARAMETERS,
    Stubbed,
    Two,
    built,
    decibels,
    decibels_of_conversion,
    images,
    made,
    numbers,
    tokens,
)
from torch import nn
from torch.ao.quantization import DeQuantStub, QuantStub, fuse_modules, fuse_modules_qat

from pytest_quant import QuantStageError, Recipe
from pytest_quant.quantize.flows import eager

KINDS = pytest.mark.parametrize("kind", ["static", "qat"])
FIRST, LAST = 8 * 16, 16 * 4


class Quantized(Two):
    """Two Linear layers between stubs."""

    def __init__(self):
        super().__init__()
        self.quant, self.dequant = QuantStub(), DeQuantStub()

    def forward(self, x):
        return self.dequant(super().forward(self.quant(x)))


class FloatHead(Quantized):
    """Float again before the last layer, which is to stay so."""

    def forward(self, x):
        return self.last(self.dequant(self.hidden(self.quant(x))))


class Scaled(nn.Module):
    """What eager mode has no int8 kernel for, with an argument that may be None."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(16))

    def forward(self, x, shift=None):
        x = torch.tanh(x * self.weight)
        return x if shift is None else x + shift


class Middle(Quantized):
    """Such a module between the layers, called in each way there is."""

    def __init__(self, call):
        super().__init__()
        self.call, self.middle = call, Scaled()

    def forward(self, x):
        return self.dequant(self.last(self.call(self.middle, self.first(self.quant(x)))))


class Recurrent(Quantized):
    """An LSTM between the layers, which returns a nest."""

    def __init__(self):
        super().__init__()
        self.middle = nn.LSTM(16, 16, batch_first=True)

    def forward(self, x):
        steps = self.first(self.quant(x))[:, None]
        return self.dequant(self.last(self.middle(steps)[0][:, 0]))


class Tokens(Quantized):
    """An embedding, whose inputs are no numbers to be quantized."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 8)

    def forward(self, ids):
        return super().forward(self.embed(ids).mean(1))


CALLS = {
    "by place": lambda middle, x: middle(x),
    "by name": lambda middle, x: middle(x=x),
    "None by place": lambda middle, x: middle(x, None),
    "None by name": lambda middle, x: middle(x, shift=None),
    "both int8": lambda middle, x: middle(x, shift=x),
}


@KINDS
def test_a_float_head_stays_float(kind):
    variant = built(made(FloatHead), Recipe(kind, flow="eager", keep_fp32="last"), numbers)
    outputs = variant(torch.randn(3, 8))
    assert outputs.dtype == torch.float32
    assert decibels(variant) > (30 if kind == "static" else 10)
    assert variant.int8_share.parameters == FIRST / TWO_PARAMETERS
    assert variant.int8_share.stayed_fp32 == ("last",)


@KINDS
@pytest.mark.parametrize("call", CALLS)
def test_a_float_module_among_int8_ones_may_be_called_in_any_way(kind, call):
    recipe = Recipe(kind, flow="eager", keep_fp32="middle")
    variant = built(made(Middle, CALLS[call]), recipe, numbers)
    assert decibels(variant) > (25 if kind == "static" else 10)
    if kind == "qat":
        assert decibels_of_conversion(variant) > 25
    share = variant.int8_share
    assert share.parameters == (FIRST + LAST) / (TWO_PARAMETERS + 16)
    assert share.stayed_fp32 == ("middle",)


@KINDS
def test_a_float_module_may_return_a_nest(kind):
    recipe = Recipe(kind, flow="eager", keep_fp32=nn.LSTM)
    variant = built(made(Recurrent), recipe, numbers)
    assert decibels(variant) > (25 if kind == "static" else 10)
    assert variant.int8_share.stayed_fp32 == ("middle",)


def test_integers_reach_a_float_embedding_as_they_are():
    recipe = Recipe("static", flow="eager", keep_fp32="embed")
    variant = built(made(Tokens), recipe, tokens)
    assert decibels(variant) > 25
    assert variant.int8_share.stayed_fp32 == ("embed",)


def test_an_embedding_becomes_int8():
    variant = built(made(Tokens), "static", tokens)
    assert variant.recipe.flow == "eager"
    assert decibels(variant) > 25
    assert variant.int8_share.parameters == (20 * 8 + FIRST + LAST) / (20 * 8 + TWO_PARAMETERS)


@KINDS
def test_what_follows_each_other_in_a_sequential_is_fused(kind):
    variant = built(made(Stubbed), Recipe(kind, flow="eager"))
    types = [type(child).__name__ for child in variant.model.stem]
    assert types == ["ConvReLU2d", "Identity", "Identity"]
    assert type(variant.model.stem[0]).__module__.startswith("torch.ao.nn.intrinsic.quantized")


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([nn.Linear(2, 2), nn.ReLU()], [["0", "1"]]),
        ([nn.Linear(2, 2), nn.BatchNorm1d(2)], [["0", "1"]]),
        ([nn.Conv1d(2, 2, 1), nn.BatchNorm1d(2), nn.ReLU()], [["0", "1", "2"]]),
        ([nn.Conv3d(2, 2, 1), nn.BatchNorm3d(2), nn.Tanh()], [["0", "1"]]),
        ([nn.Conv2d(2, 2, 1), nn.ReLU(), nn.Conv2d(2, 2, 1), nn.ReLU()], [["0", "1"], ["2", "3"]]),
        ([nn.Conv2d(2, 2, 1), nn.BatchNorm1d(2)], None),
        ([nn.ReLU(), nn.Linear(2, 2)], None),
        ([nn.Linear(2, 2), nn.Dropout(), nn.ReLU()], None),
    ],
)
def test_chains_that_can_be_fused(layers, expected):
    chains = eager._chains(nn.Sequential(nn.Sequential(*layers), nn.Tanh()))
    assert [groups for groups, _ in chains] == ([expected] if expected else [])


@KINDS
@pytest.mark.parametrize("takes_argument", [True, False])
def test_the_models_own_fuse_model_is_used(kind, takes_argument):
    called = []

    class Fusing(Stubbed):
        def fuse_model(self, is_qat=None):
            if not takes_argument and is_qat is not None:
                raise TypeError("fuse_model() got an unexpected keyword argument 'is_qat'")
            called.append(is_qat)
            fuse = fuse_modules_qat if kind == "qat" else fuse_modules
            fuse(self.stem, ["0", "1"], inplace=True)

    variant = built(made(Fusing), Recipe(kind, flow="eager"))
    assert called == [kind == "qat" if takes_argument else None]
    assert type(variant.model.stem[2]) is nn.ReLU  # as the model's own wants it
    assert decibels(variant) > (25 if kind == "static" else 10)


def test_what_fails_in_fusing_names_the_users_line():
    class Wrong(Stubbed):
        def fuse_model(self, is_qat):
            fuse_modules(self, [["stem.0", "stem.3"]], inplace=True)

    with pytest.raises(QuantStageError, match=r"flow eager could not prepare .*\(test_eager\.py:"):
        built(made(Wrong), Recipe("static", flow="eager"), images)


def test_stubs_that_do_not_fit_are_an_error_that_names_the_flow():
    with pytest.raises(QuantStageError, match="convert ERROR: flow eager made of quant_model what"):
        built(made(FloatHead), Recipe("static", flow="eager"), numbers)


@pytest.mark.parametrize("flow", ["eager", "fx"])
def test_everything_kept_leaves_nothing_int8(flow):
    """A gate fails such a variant; with FX there is nothing to observe at all."""
    recipe = Recipe("static", flow=flow, keep_fp32=(nn.Linear, QuantStub))
    if flow == "fx":
        with pytest.raises(QuantStageError, match=r"nothing to quantize.*outside keep_fp32"):
            built(made(Quantized), recipe, numbers)
        return
    share = built(made(Quantized), recipe, numbers).int8_share
    assert (share.parameters, share.macs, share.stayed_fp32) == (0.0, 0.0, ("first", "last"))
