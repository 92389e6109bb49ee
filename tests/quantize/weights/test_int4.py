"""int4 weights: groups of 32, plain and in the kernel's tiles."""

import pytest
import torch

from pytest_quant.machine.cpu import isa
from pytest_quant.quantize.weights import int4 as module
from pytest_quant.quantize.weights.int4 import ISAS_WITH_KERNEL, Int4, Int4Tiles, int4, quantized

BFLOAT16_EPS = 2**-8
with_kernel = pytest.mark.skipif(
    isa() not in ISAS_WITH_KERNEL, reason="PyTorch has an int4 kernel for AVX2 and AVX-512"
)


def test_sixteen_levels_from_the_least_to_the_greatest_of_a_group():
    row = torch.cat([torch.arange(32) % 16, 2.0 * (torch.arange(32) % 16) - 8])
    whole, scales = quantized(row[None])
    assert whole.tolist() == [[*range(16)] * 4]
    assert scales.tolist() == [[[1.0, 8.0]], [[2.0, 8.0]]]  # [groups, channels, scale and offset]
    assert torch.equal(Int4(row[None])(), row[None])


def test_a_group_of_equal_values_is_kept():
    assert torch.equal(Int4(torch.full((2, 32), 3.0))(), torch.full((2, 32), 3.0))


@pytest.mark.parametrize("shape", [(3, 5), (3, 4, 3, 3), (2, 64)])
@pytest.mark.parametrize("axis", [0, 1])
def test_no_value_is_off_by_more_than_a_step_of_its_group(shape, axis):
    weight = torch.randn(shape)
    step = (weight.max() - weight.min()) / 15
    assert Int4(weight, axis)().shape == weight.shape
    assert ((Int4(weight, axis)() - weight).abs() <= 0.6 * step).all()


@with_kernel
@pytest.mark.parametrize("shape", [(16, 32), (33, 100), (5, 7)])
def test_tiles_hold_what_the_plain_weight_holds(shape):
    weight = torch.randn(shape)
    torch.testing.assert_close(Int4Tiles(weight)(), Int4(weight)(), rtol=BFLOAT16_EPS, atol=0)


@with_kernel
@pytest.mark.parametrize("width", [7, 32, 100])
@pytest.mark.parametrize("rows", [0, 1, 3, 40])
def test_products_are_those_of_the_weight_up_to_bfloat16(width, rows):
    weight, inputs, bias = torch.randn(33, width), torch.randn(rows, width), torch.randn(33)
    plain = Int4(weight)()
    own = Int4Tiles(weight).linear(inputs, bias)
    assert own.shape == (rows, 33)
    # weights, inputs and outputs are each rounded
    most = 3 * BFLOAT16_EPS * (inputs.abs() @ plain.t().abs()) + 1e-5
    assert ((own - inputs @ plain.t() - bias).abs() <= most).all()


@with_kernel
def test_inputs_of_another_width_are_refused_and_not_reshaped():
    with pytest.raises(RuntimeError):
        Int4Tiles(torch.randn(16, 64)).linear(torch.randn(4, 32), None)


@with_kernel
def test_tiles_of_another_instruction_set_are_refused():
    tiles = Int4Tiles(torch.randn(16, 32))
    state = tiles.state_dict() | {"_extra_state": "AVX1024"}
    with pytest.raises(ValueError, match=r"laid out for AVX1024 do not fit this CPU's"):
        tiles.load_state_dict(state)


def test_a_cpu_without_the_kernel_has_plain_weights(monkeypatch):
    monkeypatch.setattr(module, "isa", lambda: "DEFAULT")
    assert isinstance(int4(torch.randn(16, 32), 0, is_linear=True), Int4)


def test_rows_are_the_rows_of_the_weight():
    compressed = Int4(torch.randn(10, 40))
    index = torch.tensor([[3, 0], [9, 9]])
    assert torch.equal(compressed.rows(index), compressed()[index])
