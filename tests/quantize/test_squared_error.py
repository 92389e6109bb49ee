"""Squared error of quantizing, against integrals by hand and against quantizing every value."""

import numpy as np
import pytest
import torch
from activations import bins_of, normal, quantized_error

from pytest_quant.quantize.histogram import Bins
from pytest_quant.quantize.squared_error import Levels, rough_squared_error, squared_error


def one_bin(start, end, count=1.0):
    ends = np.array([start]), np.array([end])
    return Bins(*ends, np.array([count]), zeros=0, low=start, high=end)


@pytest.mark.parametrize(
    ("bins", "low", "high", "count", "error"),
    [
        (one_bin(0, 1), 0, 1, 2, 1 / 12),  # rounded to 0 or 1
        (one_bin(0, 1), 0, 1, 5, (1 / 4) ** 2 / 12),
        (
            one_bin(0, 1),
            0,
            0.5,
            2,
            2 * 0.25**3 / 3 + 0.5**3 / 3,
        ),  # rounded below 0.5, clipped above
        (one_bin(-1, 0), -0.5, 0, 2, 2 * 0.25**3 / 3 + 0.5**3 / 3),
        (one_bin(3, 5, count=7), 0, 2, 256, 7 * (3**3 - 1) / 3 / 2),  # wholly clipped
        (one_bin(4, 4, count=3), 0, 3, 4, 3),  # a point, one beyond
        (one_bin(0.7, 0.7), 0, 3, 4, 0.3**2),
        (one_bin(-1, 1), -1, 2, 4, 2 * (1 / 12) / 2),  # zero is a level, -1 and 1 are too
    ],
)
def test_by_hand(bins, low, high, count, error):
    found = squared_error(bins, Levels(count), np.array([low]), np.array([high]))
    assert found == pytest.approx([error], rel=1e-12)


def test_symmetric_levels_lie_where_pytorch_puts_them():
    # qint8 from -128 to 127 over [-1, 1]: the step is 2 / 255 and the last level 127 steps up
    bins, step = one_bin(1.0, 1.0), 2 / 255
    found = squared_error(bins, Levels(256, zero=128), np.array([-1.0]), np.array([1.0]))
    assert found == pytest.approx([(1 - 127 * step) ** 2])


def test_a_least_step_is_kept():
    bins, levels = one_bin(0.4, 0.4), Levels(256, least_step=1.0)
    assert squared_error(bins, levels, np.array([0.0]), np.array([0.4])) == pytest.approx([0.16])


@pytest.mark.parametrize("count", [4, 16, 128, 256])
def test_agrees_with_quantizing_each_value(count):
    values = torch.cat([normal(50_000), torch.zeros(5000), torch.full((5000,), 6.0)])
    bins = bins_of(values)
    lows = np.array([bins.low, -2.0, -0.5, 0.0])
    highs = np.array([bins.high, 2.5, 6.0, 0.5])
    direct = [
        quantized_error(values, low, high, count) for low, high in zip(lows, highs, strict=True)
    ]
    np.testing.assert_allclose(squared_error(bins, Levels(count), lows, highs), direct, rtol=0.01)
    rough = rough_squared_error(bins, Levels(count), lows, highs)
    np.testing.assert_allclose(rough, direct, rtol=0.5 if count < 100 else 0.1)
