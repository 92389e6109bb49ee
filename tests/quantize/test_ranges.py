"""Ranges: what each search clips, by hand, by brute force and by what must hold for all values."""

import math

import numpy as np
import pytest
import torch
from activations import bins_of, laplace, normal, quantized_error, with_outlier
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_quant.quantize.ranges import entropy_range, mse_range, percentile_range
from pytest_quant.quantize.squared_error import Levels, squared_error

LEVELS = Levels(128)  # what reduce_range leaves of 8 bits
SEARCHES = {
    "percentile": lambda bins: percentile_range(bins, 99.99),
    "entropy": lambda bins: entropy_range(bins, LEVELS),
    "mse": lambda bins: mse_range(bins, LEVELS),
    "entropy, symmetric": lambda bins: entropy_range(bins, Levels(256, zero=128)),
    "mse, symmetric": lambda bins: mse_range(bins, Levels(256, zero=127)),
}
every_search = pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES.keys())
BATCH = st.lists(
    st.floats(-(2.0**20), 2.0**20, width=32).filter(lambda x: x == 0 or abs(x) > 2.0**-20),
    min_size=1,
    max_size=60,
)


# --- percentile


def test_percentile_takes_both_ends_of_signed_values():
    bins = bins_of(torch.arange(-5000.0, 5000))  # bins are 4 wide, one value is one ten-thousandth
    # 1 %: 50 values may be left out at each end; 48 are in the outer bins, 52 with the next ones
    assert percentile_range(bins, 99) == (-4952, 4952)


def test_percentile_keeps_the_near_end_of_values_of_one_sign():
    values = torch.arange(10_000.0)
    assert percentile_range(bins_of(values), 99) == (0, 9952)  # without the 48 largest
    assert percentile_range(bins_of(-values), 99) == (-9952, 0)  # without the 47 smallest
    assert percentile_range(bins_of(values + 500), 99)[0] == 500


def test_percentile_counts_zeros():
    values = torch.cat([torch.zeros(9900), torch.arange(1.0, 101)])
    assert percentile_range(bins_of(values), 99)[1] == pytest.approx(50, abs=0.05)


def test_percentile_leaves_out_nothing_when_only_zeros_would_stay():
    values = with_outlier(torch.zeros(1_000_000), 3.0)
    assert percentile_range(bins_of(values), 99.99) == (0, 3)


@pytest.mark.parametrize("percentile", [90, 99, 99.99, 100])
@pytest.mark.parametrize("make", [normal, laplace, lambda count: normal(count).relu()])
def test_percentile_is_numpys_quantile_but_for_one_bin(make, percentile):
    values = make(200_000)
    bins = bins_of(values)
    width = (bins.ends - bins.starts).max()
    low, high = percentile_range(bins, percentile)
    cut = (100 - percentile) / 200
    assert float((values < low).double().mean()) <= cut + 1e-9
    assert float((values > high).double().mean()) <= cut + 1e-9
    quantiles = np.quantile(values.double().numpy(), [cut if bins.low < 0 else 0, 1 - cut])
    np.testing.assert_allclose((low, high), quantiles, rtol=0, atol=1.5 * width)


# --- mean squared error


def best_by_trying(values, count):
    """The smallest error over a fine grid of ranges, quantizing each value each time."""
    low, high = float(values.min().clamp(max=0)), float(values.max().clamp(min=0))
    tries = 30 if low < 0 < high else 300
    lows = np.geomspace(1, 0.02, tries) * low if low < 0 else [0.0]
    highs = np.geomspace(1, 0.02, tries) * high if high > 0 else [0.0]
    return min(quantized_error(values, a, b, count) for a in lows for b in highs)


@pytest.mark.parametrize("count", [4, 16, 128])
@pytest.mark.parametrize(
    "values",
    [
        normal(4000),
        normal(4000).relu(),
        -laplace(4000).relu(),
        torch.nn.functional.gelu(2 * normal(4000)),
        (3 * normal(4000)).clamp(0, 6),
        (3 * normal(4000)).sigmoid(),
        with_outlier(normal(4000), 60.0),
        torch.tensor([0.0, 1, 2, 3, 3, 3, 40]),
    ],
    ids=["normal", "relu", "negative", "gelu", "relu6", "sigmoid", "outlier", "few"],
)
def test_mse_is_as_good_as_the_best_of_many_ranges(values, count):
    low, high = mse_range(bins_of(values), Levels(count))
    assert quantized_error(values, low, high, count) <= 1.02 * best_by_trying(values, count)


def test_mse_of_laplace_values_is_clipped_where_theory_says():
    # d/dt of t^2 / (3 * 256^2) + 2 exp(-t) vanishes: Banner, Nahshan and Soudry, "Post training
    # 4-bit quantization of convolutional networks for rapid-deployment", NeurIPS 2019
    threshold = 9.9
    for _ in range(50):
        threshold = -math.log(threshold / (3 * 256**2))
    low, high = mse_range(bins_of(laplace(2_000_000)), Levels(256))
    assert low == pytest.approx(-threshold, rel=0.1)
    assert high == pytest.approx(threshold, rel=0.1)


def test_mse_clips_less_with_more_levels():
    bins = bins_of(normal(100_000))
    highs = [mse_range(bins, Levels(count))[1] for count in (8, 32, 128, 256, 65536)]
    assert highs == sorted(highs)
    assert highs[0] < 0.7 * highs[3]
    assert highs[-1] == pytest.approx(bins.high, rel=0.1)


def test_mse_does_not_clip_evenly_spread_values():
    bins = bins_of(torch.linspace(-1, 3, 10_000))
    assert mse_range(bins, LEVELS) == pytest.approx((-1, 3), abs=4 / 127)


def test_symmetric_levels_are_searched_as_such():
    values = 0.2 * normal(50_000) + 2  # affine levels would end at the largest value, 2.8 or so
    bins, symmetric = bins_of(values), Levels(256, zero=128)
    low, high = mse_range(bins, symmetric)
    tried = np.linspace(0.5, 3, 500)
    errors = squared_error(bins, symmetric, -tried, tried)
    found = squared_error(bins, symmetric, np.array([-high]), np.array([high]))
    assert found <= 1.01 * errors.min()
    assert low == bins.low  # nothing was seen below


# --- entropy


def divergence_by_counting(values, threshold, levels, sub_bins):
    """KL(P || Q) as the method is described, level by level from the values themselves."""
    low, high = max(-threshold, float(values.min())), min(threshold, float(values.max()))
    inside = values[(values >= low) & (values <= high)]
    counts, _ = np.histogram(inside, levels * sub_bins, (low, high))
    p = counts.astype(float)
    p[0] += (values < low).sum()
    p[-1] += (values > high).sum()
    q = np.zeros_like(p)
    for start in range(0, len(p), sub_bins):
        part = slice(start, start + sub_bins)
        filled = p[part] > 0
        if filled.any():
            q[part][filled] = counts[part].sum() / filled.sum()
    q = np.maximum(q, 1e-4)
    p, q = p / p.sum(), q / q.sum()
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a)


@pytest.mark.parametrize("count", [2000, 1_000_000])
@pytest.mark.parametrize("make", [normal, laplace, lambda count: laplace(count).abs() ** 1.5])
def test_entropy_takes_the_threshold_that_loses_least_information(make, count):
    values = make(count).double()
    low, high = entropy_range(bins_of(values), LEVELS)
    threshold = max(-low, high)
    found = divergence_by_counting(values.numpy(), threshold, 128, 8)
    for factor in (0.4, 0.55, 0.7, 0.85, 1.2, 1.6):
        if factor * threshold <= float(values.abs().max()):
            other = divergence_by_counting(values.numpy(), factor * threshold, 128, 8)
            assert found <= other * 1.05 + 1e-5


def test_entropy_is_symmetric_for_signed_values_and_one_sided_after_a_relu():
    low, high = entropy_range(bins_of(laplace(1_000_000)), LEVELS)
    assert low == pytest.approx(-high)
    low, high = entropy_range(bins_of(normal(1_000_000).relu()), LEVELS)
    assert low == 0
    assert high > 3.8  # with half of the levels below zero it would be 2.9
    low, high = entropy_range(bins_of(torch.nn.functional.silu(4 * normal(100_000))), LEVELS)
    assert low == pytest.approx(-0.2785, abs=1e-3)  # SiLU's minimum; nothing is gained by less
    assert high > 4


def test_entropy_does_not_take_the_gaps_of_discrete_values_for_a_loss():
    values = (8 * normal(1_000_000)).round() / 8  # such as leave a quantized layer
    low, high = entropy_range(bins_of(values), LEVELS)
    assert -low > 3.5
    assert high > 3.5


def test_entropy_does_not_mind_how_many_zeros_there_are():
    values = normal(50_000).relu()
    sparse = torch.cat([values, torch.zeros(5_000_000)])
    assert entropy_range(bins_of(sparse), LEVELS) == entropy_range(bins_of(values), LEVELS)


def test_entropy_keeps_a_plateau_and_saturated_values():
    evenly = torch.rand(100_000, generator=torch.Generator().manual_seed(0))
    assert entropy_range(bins_of(evenly), LEVELS) == pytest.approx((0, 1), abs=0.06)
    assert entropy_range(bins_of((3 * normal(100_000)).clamp(0, 6)), LEVELS) == (0, 6)


# --- all


@every_search
@pytest.mark.parametrize("sign", [1, -1])
def test_one_value_of_a_thousand_times_the_usual_is_clipped(search, sign):
    values = normal(4_000_000)
    low, high = search(bins_of(with_outlier(values, sign * 1000.0)))
    assert 3 < max(-low, high) < 100


@every_search
def test_one_value_after_a_relu_is_clipped(search):
    low, high = search(bins_of(with_outlier(normal(4_000_000).relu(), 1000.0)))
    assert low == 0
    assert 3 < high < 100


def test_mse_keeps_a_value_with_more_energy_than_all_others():
    values = with_outlier(normal(10_000), 4000.0)  # 16e6 of 16.01e6
    assert mse_range(bins_of(values), LEVELS)[1] == 4000


@every_search
@pytest.mark.parametrize(
    "values",
    [[5.0] * 20, [-5.0] * 20, [0.0] * 20, [0.0, 7.0], [-7.0, 0.0], [5.0, 6.0], [5.0, 5.01]],
)
def test_a_few_distinct_values_are_all_kept(search, values):
    low, high = search(bins_of(torch.tensor(values)))
    assert low == pytest.approx(min(values), rel=0.01)
    assert high == pytest.approx(max(values), rel=0.01)


@every_search
@settings(deadline=None, max_examples=40)
@given(values=BATCH, shift=st.integers(-8, 8), order=st.randoms(use_true_random=False))
def test_a_range_lies_within_the_values_and_follows_from_them_alone(search, values, shift, order):
    low, high = search(bins_of(torch.tensor(values)))
    assert min(values) <= low <= high <= max(values)
    order.shuffle(values)
    assert search(bins_of(torch.tensor(values))) == (low, high)
    scaled = search(bins_of(torch.tensor(values) * 2.0**shift))
    assert scaled == pytest.approx((low * 2.0**shift, high * 2.0**shift))


@given(values=BATCH, zero=st.sampled_from([None, 128, 127]))
@settings(deadline=None, max_examples=40)
def test_mse_is_never_worse_than_the_whole_range(values, zero):
    bins, levels = bins_of(torch.tensor(values)), Levels(256, zero)
    if bins.low == bins.high:
        return

    def error(low, high):
        low, high = min(low, 0.0), max(high, 0.0)
        if zero is not None:
            low, high = -max(-low, high), max(-low, high)
        return float(squared_error(bins, levels, np.array([low]), np.array([high]))[0])

    assert error(*mse_range(bins, levels)) <= error(bins.low, bins.high) * (1 + 1e-9)
