"""Histogram: exact counts on a grid that follows from the values alone."""

import dataclasses
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_quant.quantize.histogram import BINS, Histogram

# Not so far apart that float32 underflows when one is divided by another.
FLOATS = st.floats(-(2.0**50), 2.0**50, width=32).filter(lambda x: x == 0 or abs(x) > 2.0**-50)


def histogram_of(*batches):
    histogram = Histogram.empty()
    for batch in batches:
        histogram.add(batch if isinstance(batch, torch.Tensor) else torch.tensor(batch))
    return histogram


def tensors_of(histogram):
    return [getattr(histogram, field.name) for field in dataclasses.fields(histogram)]


def assert_same(one, other):
    for tensor, twin in zip(tensors_of(one), tensors_of(other), strict=True):
        torch.testing.assert_close(tensor, twin, rtol=0, atol=0)


def counted_in(bins, values):
    """How many of the values lie in each bin, by comparing all with all; zeros apart."""
    nonzero = values[values != 0][:, None]
    ends = np.append(bins.ends[:-1], np.inf)[: len(bins.ends)]
    return ((nonzero >= bins.starts) & (nonzero < ends)).sum(0)


def test_bins_start_at_multiples_of_their_power_of_two():
    bins = histogram_of([3.0, 1.0, -1.0, 0.0, 0.0, 1.0001]).bins()
    width = 2**-9  # [-1, 3] takes 4 * 512 + 1 bins; half as wide they would take 4097
    np.testing.assert_array_equal(bins.starts, [-1, 1, 3])
    np.testing.assert_array_equal(bins.ends, [-1 + width, 1 + width, 3])  # 3 is the largest value
    np.testing.assert_array_equal(bins.counts, [1, 2, 1])
    assert (bins.zeros, bins.low, bins.high) == (2, -1, 3)


def test_no_bin_is_wasted():
    bins = histogram_of(torch.arange(BINS) - 7.0).bins()
    np.testing.assert_array_equal(bins.counts, np.ones(BINS - 1))
    assert bins.zeros == 1


def test_batches_and_their_order_do_not_matter():
    values = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    values[7777] = 1000  # far beyond the bins of the first batches
    shuffled = values[torch.randperm(len(values), generator=torch.Generator().manual_seed(1))]
    once = histogram_of(values)
    assert_same(histogram_of(*values.split(400)), once)
    assert_same(histogram_of(*shuffled.split(333)), once)
    assert int(once.counts.sum()) == len(values)


def test_the_range_grows_to_both_sides_and_keeps_all_counts():
    growing = histogram_of([0.25, 0.5], [-1e-3], [80.0], [-5e4, 0.0], [2e30])
    assert int(growing.counts.sum()) == 7
    bins = growing.bins()
    assert (bins.low, bins.high, bins.zeros) == (np.float32(-5e4), np.float32(2e30), 1)
    assert_same(growing, histogram_of([2e30, -5e4, 0.0, 0.25, 0.5, -1e-3, 80.0]))


def test_at_least_half_of_the_bins_are_used():
    values = torch.linspace(-1, 1.7, 100_000)
    assert BINS / 2 <= len(histogram_of(values).bins().counts) <= BINS


def test_memory_does_not_grow():
    generator = torch.Generator().manual_seed(0)
    histogram = histogram_of(torch.randn(100, generator=generator))
    before = [(t.data_ptr(), t.nbytes) for t in tensors_of(histogram)], len(pickle.dumps(histogram))
    for power in range(50):
        histogram.add(torch.randn(500, generator=generator) * 2.0**power)
    after = [(t.data_ptr(), t.nbytes) for t in tensors_of(histogram)], len(pickle.dumps(histogram))
    assert after == before


def test_what_is_not_finite_is_tallied_and_left_out():
    histogram = histogram_of([1.0, torch.inf, torch.nan, -2.0], [-torch.inf])
    assert histogram.non_finite == 3
    assert_same(
        dataclasses.replace(histogram, tally=torch.tensor([0, 0])), histogram_of([1.0, -2.0])
    )


@pytest.mark.parametrize("batch", [[], [torch.nan], [torch.inf, -torch.inf]])
def test_without_finite_values_nothing_was_seen(batch):
    histogram = histogram_of(batch)
    assert int(histogram.counts.sum()) == 0
    assert histogram.min_val > histogram.max_val


@pytest.mark.parametrize(
    ("batch", "values"),
    [
        (torch.tensor([[3, -2], [0, 7]]), [-2.0, 3, 7]),
        (torch.tensor([True, False, True]), [1.0, 1]),
        (torch.tensor([1.5, -0.25], dtype=torch.bfloat16), [-0.25, 1.5]),
        (torch.tensor([1.5, -0.25], dtype=torch.float16), [-0.25, 1.5]),
        (torch.tensor([0.5, 1e300], dtype=torch.float64), [0.5]),
        (torch.arange(6.0).reshape(2, 3).T[1:], [1.0, 2, 4, 5]),
    ],
)
def test_any_real_dtype_and_layout(batch, values):
    bins = histogram_of(batch).bins()
    assert (bins.low, bins.high) == (min(0.0, *values) if 0 in batch else min(values), max(values))
    assert bins.counts.sum() == len(values)


def test_a_constant_a_zero_and_the_extremes_of_float32():
    tiny, huge = torch.finfo(torch.float32).tiny, torch.finfo(torch.float32).max
    for values in ([5.0] * 9, [-5.0], [tiny], [-tiny, tiny], [huge], [-huge, huge], [1e-45, huge]):
        bins = histogram_of(values).bins()
        assert bins.counts.sum() == len(values)
        assert (bins.low, bins.high) == (np.float32(min(values)), np.float32(max(values)))
        assert (bins.starts >= bins.low).all()
        assert (bins.ends <= bins.high).all()
    zeros = histogram_of([0.0] * 4, [0.0]).bins()
    assert (zeros.zeros, len(zeros.counts), zeros.low, zeros.high) == (5, 0, 0, 0)


def test_values_change_neither_by_counting_nor_their_gradient():
    values = torch.tensor([1.0, -1.0], requires_grad=True)
    histogram_of(values)
    (values**2).sum().backward()
    assert values.grad.tolist() == [2, -2]


@settings(deadline=None)
@given(st.lists(st.lists(FLOATS, max_size=30), min_size=1, max_size=5))
def test_counts_are_exact_for_any_batches(batches):
    histogram = histogram_of(*(torch.tensor(batch) for batch in batches))
    values = np.array([value for batch in batches for value in batch], dtype=np.float32)
    if not len(values):
        assert histogram.min_val > histogram.max_val
        return
    bins = histogram.bins()
    assert (bins.low, bins.high) == (values.min(), values.max())
    assert bins.zeros == (values == 0).sum()
    np.testing.assert_array_equal(bins.counts, counted_in(bins, values.astype(np.float64)))
    assert_same(histogram_of(torch.tensor(values[::-1].copy())), histogram)
