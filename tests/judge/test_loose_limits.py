"""Limits a little looser than what was measured hold, and are not looser than a little."""

import pytest

from pytest_quant.judge.loose_limits import _up


@pytest.mark.parametrize(
    ("value", "digits", "up"),
    [
        (0.0, 3, 0.0),
        (0.0050, 3, 0.005),
        (0.01281, 3, 0.013),
        (0.999, 2, 1.0),
        (0.00000123, 3, 0.00000123),
        (0.0000012345, 3, 0.00000124),
        (123456.7, 3, 124000.0),
        (12.3451, 3, 12.346),
    ],
)
def test_rounding_up_never_gives_less(value, digits, up):
    assert _up(value, digits) == pytest.approx(up)
    assert _up(value, digits) >= value * (1 - 1e-9)
