"""Histogram search: the range that PyTorch's HistogramObserver settles on, in less time."""

import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy

STEP = 1e-5  # of the values, by which PyTorch goes inwards from one side or the other
TOGETHER = 512  # steps


def kept_bins(histogram: Any, error: Callable[[int, int], float]) -> tuple[int, int]:
    """The first and the last bin that are kept, as `HistogramObserver` keeps them.

    From both sides PyTorch leaves out a hundred-thousandth of the values at a time, until the error
    grows, and compares tensors of one number at each step. Here it is looked up for many steps at
    once which bins they reach; the same ones come out.

    Args:
        histogram: counts of the values, [bins], float32.
        error: of quantizing the values with a range from one bin to another.
    """
    total = float(histogram.sum().item())
    below = histogram.cumsum(0).cpu().numpy()
    starts, ends = _shares()
    lefts, rights = _reached(below, starts, total, "left"), _reached(below, ends, total, "right")
    start, end, to_left, to_right = next(lefts), next(rights), next(lefts), next(rights)
    first, last, least = 0, len(below) - 1, math.inf
    while start.share < end.share:
        left = min(max(to_left.bin, first), last)
        right = max(min(to_right.bin - 1, last), first)
        if left - first > last - right:
            bins = left, last
            start, to_left = to_left, next(lefts)
        else:
            bins = first, right
            end, to_right = to_right, next(rights)
        if bins == (first, last):
            continue
        now = error(*bins)
        if now > least:
            break
        (first, last), least = bins, now
    return first, last


class _Step(NamedTuple):
    """A share of the values, and how many bins lie below it."""

    share: float
    bin: int


def _reached(below: Any, shares: Any, total: float, side: Any) -> Iterator[_Step]:
    """One step after the other; a few are looked up at a time, since most searches end early."""
    for begin in range(0, len(shares), TOGETHER):
        some = shares[begin : begin + TOGETHER]
        # As PyTorch compares a tensor with a number: in the precision of the tensor.
        bins = numpy.searchsorted(below, (some * total).astype(below.dtype), side)
        yield from map(_Step, some.tolist(), bins.tolist())


@cache
def _shares() -> tuple[Any, Any]:
    """The share of the values below the range, and the share up to its end, after each step of one side."""
    steps = numpy.full(round(1 / STEP) + 3, STEP)
    steps[0] = 0
    below = numpy.add.accumulate(steps)
    steps[0] = 1
    return below, numpy.subtract.accumulate(steps)
