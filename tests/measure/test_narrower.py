"""Narrower: what is stored in fewer bits than in FP32, and where tensors cannot tell it."""

import copy

import pytest
import torch
from builders import tiny_linear, toy_variant
from torch import nn

from pytest_quant import Recipe
from pytest_quant.measure.int8_share import in_fewer_bits
from pytest_quant.measure.narrower import is_narrow, narrower

WEIGHTS, PARAMETERS = 8 * 16 + 16 * 3, 8 * 16 + 16 * 3 + 16 + 3


class Masked(nn.Module):
    """With a mask of uint8, a table of float16 and a plain attribute of int8, which no flow has made."""

    def __init__(self):
        super().__init__()
        self.body = tiny_linear()
        self.register_buffer("mask", torch.ones(20, 20, dtype=torch.uint8))
        self.register_buffer("table", torch.ones(300, dtype=torch.float16), persistent=False)
        self.signs = torch.ones(50, dtype=torch.int8)

    def forward(self, x):
        return self.body(x * self.mask[0, :8] * self.signs[0] * self.table[0])


def int8(module):
    return torch.ao.quantization.quantize_dynamic(module, {nn.Linear}, torch.qint8)


def share_of(build, model=None):
    return toy_variant(Recipe("custom", build=build), model=model).int8_share


def test_what_fp32_has_in_fewer_bits_too_is_no_int8():
    share = share_of(lambda module: module, Masked())
    assert share.parameters == 0.0
    assert share.stayed_fp32 == ("body.0", "body.2")


def test_of_a_quantized_model_only_the_weights_count():
    assert share_of(int8, Masked()).parameters == WEIGHTS / PARAMETERS


def test_a_layer_with_a_mask_of_its_own_did_not_become_int8():
    class WithMask(nn.Linear):
        def __init__(self):
            super().__init__(8, 3)
            self.register_buffer("mask", torch.ones(3, 8, dtype=torch.uint8))

        def forward(self, x):
            return nn.functional.linear(x, self.weight * self.mask, self.bias)

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.own, self.last = WithMask(), nn.Linear(3, 3)

        def forward(self, x):
            return self.last(self.own(x))

    def last_alone(module):
        module.last = int8(nn.Sequential(module.last))[0]
        return module

    share = share_of(last_alone, Two().eval())
    assert share.parameters == 9 / 39
    assert share.stayed_fp32 == ("own",)


def test_masks_beside_all_of_fp32s_parameters_tell_nothing():
    def pruned(module):
        for layer in (module[0], module[2]):
            layer.register_buffer("kept", (layer.weight.abs() > 0.1).to(torch.uint8))
        return module

    assert share_of(pruned).parameters is None


def test_weights_in_integers_of_32_bits_tell_nothing():
    class Packed(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.words = nn.Parameter(torch.zeros(22, dtype=torch.int32), requires_grad=False)
            self.scale = nn.Parameter(torch.ones(3))

        def forward(self, x):
            return x[:, :3] * self.scale

    assert share_of(Packed).parameters is None


def test_a_module_without_tensors_tells_nothing():
    class Session(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.weights = [parameter.detach().numpy() for parameter in module.parameters()]

        def forward(self, x):  # in which PyTorch sees nothing
            first, bias, last, last_bias = self.weights
            hidden = (x.numpy() @ first.T + bias).clip(0)
            return torch.from_numpy((hidden @ last.T + last_bias).round(1))

    assert share_of(Session).parameters is None


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_what_torchscript_has_frozen_tells_nothing():
    variant = toy_variant(
        Recipe("custom", build=lambda m: torch.jit.freeze(torch.jit.script(int8(m)))), name="mine"
    )
    assert variant.int8_share.parameters is None
    assert variant.pair().b.call() is not None


@pytest.mark.parametrize("build", [copy.deepcopy, lambda module: nn.Sequential(nn.Linear(8, 3))])
def test_fp32_and_a_smaller_float_model_are_known_to_have_none(build):
    assert share_of(build).parameters == 0.0


@pytest.mark.parametrize(
    ("dtype", "narrow"),
    [
        (torch.int8, True),
        (torch.int16, True),
        (torch.float8_e4m3fn, True),
        (torch.bfloat16, True),
        (torch.bool, False),
        (torch.int32, False),
        (torch.float32, False),
    ],
)
def test_narrow_is_what_has_fewer_bits_than_float32(dtype, narrow):
    assert is_narrow(torch.zeros(4, dtype=dtype)) is narrow


def test_one_for_one():
    masks = [torch.ones(2, 2, dtype=torch.uint8) for _ in range(3)]
    fp32 = nn.Module()
    fp32.register_buffer("mask", masks[0])
    assert len(narrower(masks, fp32)) == 2
    assert len(narrower(masks, None)) == 3
    assert in_fewer_bits(fp32) == 4
