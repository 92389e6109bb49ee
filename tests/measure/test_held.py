"""Held: what a model computes with counts, wherever it keeps it; what it merely keeps does not."""

import numpy as np
import pytest
import torch
from builders import batches, tiny_linear, toy_variant
from torch import nn

from pytest_quant import Recipe
from pytest_quant.judge.honesty import not_quantized

FIRST, LAST = 8 * 16 + 16, 16 * 3 + 3


class InAList(nn.Module):
    """Its first layer is in a plain list, where PyTorch does not see it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = [nn.Linear(8, 16)]
        self.last = nn.Linear(16, 3)

    def forward(self, x):
        return self.last(self.layers[0](x).relu())


class Keeps(nn.Module):
    """Leaves its activations behind, as for a plot."""

    def __init__(self, body=None):
        super().__init__()
        self.body = body or tiny_linear()
        self.kept = None

    def forward(self, x):
        self.kept = self.body[0](x)
        return self.body[2](self.body[1](self.kept))


def custom(build, model=None):
    return toy_variant(Recipe("custom", build=build), model=model, name="mine")


def halves(linear):
    """Its weight in int8 with one scale, and the weight as float32."""
    weight = linear.weight.detach()
    scale = float(weight.abs().max() / 127)
    return (
        (weight / scale).round().to(torch.int8),
        scale,
        weight.clone(),
        linear.bias.detach().clone(),
    )


def test_layers_in_a_plain_list_count_on_both_sides():
    variant = toy_variant("dynamic", model=InAList())
    assert variant.fp32.size.tensor_bytes == 4 * (FIRST + LAST)
    assert variant.size.tensor_bytes > 4 * FIRST
    assert variant.int8_share.parameters == 16 * 3 / (FIRST + LAST)
    assert any("torch.nn.ModuleList" in note for note in variant.fp32.notes)


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_activations_that_are_left_behind_are_no_part_of_a_size(kind):
    plain, keeping = toy_variant(kind), toy_variant(kind, model=Keeps())
    keeping.fp32.model(batches()[0][0])
    assert keeping.fp32.size.tensor_bytes == plain.fp32.size.tensor_bytes == 4 * (FIRST + LAST)
    keeping.evaluation  # noqa: B018
    assert keeping.size.tensor_bytes == plain.size.tensor_bytes
    assert not any("ModuleList" in note for note in keeping.fp32.notes)


def in_a_list(weight, bias):
    class Listed(nn.Module):
        def __init__(self):
            super().__init__()
            self.held = {"both": [weight, bias]}

        def forward(self, x):
            return nn.functional.linear(x, *self.held["both"])

    return Listed()


def in_a_closure(weight, bias):
    class Closed(nn.Module):
        def forward(self, x):
            return nn.functional.linear(x, weight, bias)

    return Closed()


def in_an_array(weight, bias):
    class InArrays(nn.Module):
        def __init__(self):
            super().__init__()
            self.held = weight.numpy(), bias.numpy()

        def forward(self, x):
            return nn.functional.linear(x, *map(torch.from_numpy, self.held))

    return InArrays()


@pytest.mark.parametrize("place", [in_a_list, in_a_closure, in_an_array])
def test_weights_out_of_sight_count_and_int8_beside_them_is_no_quantization(place):
    def build(module):
        for index in (0, 2):
            narrow, _, weight, bias = halves(module[index])
            module[index] = place(weight, bias)
            module[index].register_buffer("narrow", narrow)
        return module

    variant = custom(build)
    assert variant.size.tensor_bytes == 4 * (FIRST + LAST) + 8 * 16 + 16 * 3
    assert variant.int8_share.parameters is None
    assert "was not quantized" in not_quantized(variant)


def test_packed_weights_in_a_plain_attribute_count():
    class Packed(nn.Module):
        def __init__(self, linear):
            super().__init__()
            narrow, scale, _, bias = halves(linear)
            whole = torch.quantize_per_tensor(narrow * scale, scale, 0, torch.qint8)
            self.packed = torch.ops.quantized.linear_prepack(whole, bias)

        def forward(self, x):
            return torch.ops.quantized.linear_dynamic(x, self.packed)

    def build(module):
        module[0] = Packed(module[0])
        return module

    variant = custom(build)
    assert variant.size.tensor_bytes == 8 * 16 + 4 * 16 + 4 * LAST
    assert variant.int8_share.parameters == 8 * 16 / (FIRST + LAST)


def test_int8_weights_that_are_held_twice_became_int8_once():
    class Twice(nn.Module):
        def __init__(self, linear):
            super().__init__()
            narrow, self.scale, _, bias = halves(linear)
            self.register_buffer("narrow", narrow)
            self.register_buffer("turned", narrow.t().contiguous())
            self.bias = nn.Parameter(bias)

        def forward(self, x):
            return x @ (self.turned.float() * self.scale) + self.bias

    def build(module):
        module[0] = Twice(module[0])
        return module

    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8), nn.Linear(8, 3)).eval()
    total = FIRST + 16 * 8 + 8 + 8 * 3 + 3
    share = custom(build, model).int8_share
    assert share.parameters == 8 * 16 / total  # and not 2 * 8 * 16
    assert share.macs == 8 * 16 / (8 * 16 + 16 * 8 + 8 * 3)


def test_a_narrow_table_beside_a_weight_that_stayed_makes_no_int8_layer():
    def build(module):
        module[0].register_buffer("rows", torch.arange(16, dtype=torch.int16))
        module[2] = torch.ao.quantization.quantize_dynamic(nn.Sequential(module[2]))[0]
        return module

    share = custom(build).int8_share
    assert share.macs == 16 * 3 / (8 * 16 + 16 * 3)
    assert share.stayed_fp32 == ("0",)


def test_arrays_that_pytorch_cannot_take_are_passed_over():
    class Texts(Keeps):
        def __init__(self):
            super().__init__()
            self.names = np.array(["a", "b"]), np.zeros(3)

    assert toy_variant(model=Texts()).fp32.size.tensor_bytes == 4 * (FIRST + LAST)


def test_a_model_that_holds_itself_is_walked_once():
    model = Keeps()
    model.me = [model]
    assert toy_variant(model=model).fp32.size.tensor_bytes == 4 * (FIRST + LAST)
