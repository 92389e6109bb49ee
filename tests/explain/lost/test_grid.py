"""Grid: rounding, saturation and use of a range, by hand."""

import pytest
import torch

from pytest_quant.explain.lost.grid import Grid


def grid(scale, zero_point=0, low=0, high=255, axis=None):
    return Grid(torch.tensor(scale), torch.tensor(zero_point, dtype=torch.int32), low, high, axis)


def test_values_are_rounded_to_the_nearest_level_and_clipped_at_the_ends():
    own = grid([0.5], [2], 0, 10)  # -1.0, -0.5, ..., 4.0
    rounded = own.rounded(torch.tensor([-3.0, -0.6, 0.2, 0.3, 9.0]))
    assert rounded.tolist() == [-1.0, -0.5, 0.0, 0.5, 4.0]
    assert own.ends == (-1.0, 4.0)


def test_each_channel_has_levels_of_its_own():
    own = grid([1.0, 0.1], [0, 0], -127, 127, axis=0)
    rounded = own.rounded(torch.tensor([[0.44], [0.44]]))
    assert rounded[:, 0].tolist() == pytest.approx([0.0, 0.4])


def test_saturated_counts_what_lies_more_than_half_a_step_outside():
    own = grid([1.0], [0], 0, 10)
    values = torch.tensor([-0.4, -0.6, 5.0, 10.4, 10.6, 100.0, 3.0, 4.0])
    assert own.saturated(values) == 3 / 8


def test_used_is_the_share_of_levels_between_the_quantiles():
    values = torch.linspace(0, 10, 10_001)
    assert grid([0.1], [0], 0, 100).used(values) == pytest.approx(1.0, abs=0.02)
    assert grid([1.0], [0], 0, 100).used(values) == pytest.approx(0.11, abs=0.01)


def test_a_grid_is_what_its_observer_has_found():
    observer = torch.ao.quantization.MinMaxObserver(dtype=torch.quint8)
    observer(torch.tensor([-1.0, 1.55]))
    own = Grid.of(observer)
    assert own.ends == pytest.approx((-1.0, 1.55))
    assert (own.low, own.high, own.axis) == (0, 255, None)


def test_what_quantizes_nothing_has_no_grid():
    assert Grid.of(torch.nn.Identity()) is None
