"""int8 weights: what they hold, and products with few and with many rows."""

import pytest
import torch

from pytest_quant.quantize.weights import int8
from pytest_quant.quantize.weights.int8 import FEW_ROWS, Int8

BFLOAT16_EPS = 2**-8  # relative, of rounding to the nearest


def test_values_and_scales_by_hand():
    compressed = Int8(torch.tensor([[127.0, -64.0, 1.0], [0.0, 0.5, -63.5]]))
    assert compressed.scales.tolist() == [1.0, 0.5]
    assert compressed.values[:, :3].tolist() == [[127, -64, 1], [0, 1, -127]]
    assert compressed().tolist() == [[127.0, -64.0, 1.0], [0.0, 0.5, -63.5]]


def test_one_scale_for_the_tensor():
    compressed = Int8(torch.tensor([[127.0, -64.0], [0.6, 0.4]]), per_channel=False)
    assert compressed.scales.tolist() == [1.0]
    assert compressed().tolist() == [[127.0, -64.0], [1.0, 0.0]]


def test_a_channel_of_zeros_stays_zero():
    assert Int8(torch.zeros(2, 3))().tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize("shape", [(3, 5), (3, 4, 3), (3, 4, 3, 3)])
@pytest.mark.parametrize("axis", [0, 1])
def test_no_value_is_off_by_more_than_half_a_step_of_its_channel(shape, axis):
    weight = torch.randn(shape)
    compressed = Int8(weight, axis)
    others = [i for i in range(weight.ndim) if i != axis]
    step = weight.abs().amax(others, keepdim=True) / 127
    assert compressed().shape == weight.shape
    # a scale rounded down to bfloat16 does not reach the largest value by another half a step
    assert ((compressed() - weight).abs() <= step * (0.5 + 127 * BFLOAT16_EPS)).all()


@pytest.mark.parametrize("width", [1, 15, 16, 17, 33, 100])
@pytest.mark.parametrize("rows", [0, 1, FEW_ROWS, FEW_ROWS + 1, 3 * FEW_ROWS])
@pytest.mark.parametrize("per_channel", [True, False])
def test_products_are_those_of_the_weight_up_to_bfloat16(width, rows, per_channel):
    compressed = Int8(torch.randn(7, width), per_channel=per_channel)
    inputs, bias = torch.randn(rows, width), torch.randn(7)
    exact = inputs @ compressed().t() + bias
    most = inputs.abs() @ compressed().t().abs()
    for own, expected in (
        (compressed.linear(inputs, bias), exact),
        (compressed.linear(inputs, None), exact - bias),
    ):
        assert own.dtype == torch.float32
        assert own.shape == (rows, 7)
        assert ((own - expected).abs() <= 2 * BFLOAT16_EPS * most + 1e-5).all()


def test_without_bfloat16_many_rows_are_multiplied_in_float32(monkeypatch):
    monkeypatch.setattr(int8, "has_bfloat16", lambda: False)
    compressed, inputs, bias = Int8(torch.randn(7, 33)), torch.randn(40, 33), torch.randn(7)
    expected = inputs @ compressed().t() + bias
    torch.testing.assert_close(compressed.linear(inputs, bias), expected, rtol=1e-5, atol=1e-4)


def test_rows_are_the_rows_of_the_weight():
    compressed = Int8(torch.randn(10, 5))
    index = torch.tensor([[3, 0], [9, 9]])
    assert torch.equal(compressed.rows(index), compressed()[index])
