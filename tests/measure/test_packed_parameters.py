"""Parameters that are stored several to an element, or in a wrapper: bytes and shares by hand."""

import pytest
import torch
from builders import tiny_linear, toy_variant

from pytest_quant import Recipe
from pytest_quant.measure.int8_share import in_fewer_bits

FIRST, SECOND, BIASES = 8 * 16, 16 * 3, 16 + 3


class Nibbles(torch.nn.Module):
    """A matrix of four bits each, two in a byte, which says so if it is told to."""

    def __init__(self, rows, columns, says):
        super().__init__()
        self.register_buffer("packed", torch.zeros(rows, columns // 2, dtype=torch.uint8))
        self.register_buffer("offsets", torch.zeros(rows, dtype=torch.int8))
        if says:
            self.packed_parameters = rows * columns

    def forward(self):
        both = torch.stack([self.packed & 15, self.packed >> 4], -1)
        return both.flatten(1).float() - self.offsets[:, None]


class Packed(torch.nn.Module):
    """The tiny model with a packed first layer."""

    def __init__(self, module, says=True, twice=False):
        super().__init__()
        self.weight = Nibbles(16, 8, says)
        if twice:
            self.again = self.weight
        self.rest = module

    def forward(self, x):
        return self.rest(x) + self.weight().sum()


def share_of(build):
    return toy_variant(Recipe("custom", build=build)).int8_share.parameters


def test_a_module_says_how_many_parameters_it_packs():
    class First(torch.nn.Module):
        def __init__(self, linear):
            super().__init__()
            self.weight, self.bias = Nibbles(16, 8, says=True), linear.bias

        def forward(self, x):
            return torch.nn.functional.linear(x, self.weight(), self.bias)

    def build(module):
        module[0] = First(module[0])
        return module

    assert in_fewer_bits(Packed(torch.nn.ReLU())) == FIRST
    assert share_of(build) == FIRST / (FIRST + SECOND + BIASES)


def test_what_is_packed_beside_weights_that_are_still_read_replaces_none():
    assert share_of(Packed) == 0.0


def test_a_module_that_does_not_say_it_is_counted_by_its_elements():
    assert in_fewer_bits(Packed(torch.nn.ReLU(), says=False)) == FIRST // 2 + 16


def test_a_module_that_is_used_twice_counts_once():
    assert in_fewer_bits(Packed(torch.nn.ReLU(), twice=True)) == FIRST


def test_a_model_that_is_itself_packed():
    assert in_fewer_bits(Nibbles(16, 8, says=True)) == FIRST


def test_low_bit_tensors_beside_a_packed_module_count_too():
    model = Packed(torch.nn.Linear(4, 5, bias=False).bfloat16())
    assert in_fewer_bits(model) == FIRST + 20


class TestTorchao:
    """Its weights call themselves float32 in their full shape, and have no storage."""

    @pytest.fixture(autouse=True)
    def _needs_it(self):
        pytest.importorskip("torchao")

    def int8(self, module):
        from torchao.quantization import Int8WeightOnlyConfig, quantize_

        quantize_(module, Int8WeightOnlyConfig(set_inductor_config=False))
        return module

    def test_bytes_are_those_of_the_tensors_inside(self):
        size = toy_variant(Recipe("custom", build=self.int8)).size
        channels = 16 + 3
        # an int8 value each; for each channel a float32 scale and an int8 zero point
        assert size.tensor_bytes == FIRST + SECOND + channels * (4 + 1) + 4 * BIASES

    def test_the_share_counts_weights_and_not_their_zero_points(self):
        share = toy_variant(Recipe("custom", build=self.int8)).int8_share
        assert share.parameters == (FIRST + SECOND) / (FIRST + SECOND + BIASES)
        assert share.macs == 1.0
        assert share.stayed_fp32 == ()

    def test_tied_weights_count_once(self):
        tied = torch.nn.Sequential(
            torch.nn.Linear(8, 8, bias=False), torch.nn.Linear(8, 8, bias=False)
        )
        self.int8(tied)
        tied[1].weight = tied[0].weight
        assert in_fewer_bits(tied) == 64


def test_nothing_is_in_fewer_bits_in_fp32():
    assert in_fewer_bits(tiny_linear()) == 0
