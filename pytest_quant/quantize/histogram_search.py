"""Histogram search: the range that PyTorch's HistogramObserver settles on, in less time."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy

STEP = 1e-5  # of the values, by which PyTorch goes inwards from one side or the other


def kept_bins(histogram: Any, error: Callable[[int, int], float]) -> tuple[int, int]:
    """The first and the last bin that are kept, as `HistogramObserver` keeps them.

    From both sides PyTorch leaves out a hundred-thousandth of the values at a time, until the error
    grows, and compares tensors of one number at each step. Here it is looked up for all steps at once
    which bin each of them reaches; the same bins come out.

    Args:
        histogram: counts of the values, [bins], float32.
        error: of quantizing the values with a range from one bin to another.
    """
    total = float(histogram.sum().item())
    below = histogram.cumsum(0).numpy()
    alphas, betas = _shares()
    starts, ends = alphas.tolist(), betas.tolist()
    # As PyTorch compares a tensor with a number: in the precision of the tensor.
    lefts = numpy.searchsorted(below, (alphas[1:] * total).astype(below.dtype), "left").tolist()
    rights = numpy.searchsorted(below, (betas[1:] * total).astype(below.dtype), "right").tolist()
    first, last, least = 0, len(below) - 1, math.inf
    from_left = from_right = 0  # steps
    while starts[from_left] < ends[from_right]:
        left = min(max(lefts[from_left], first), last)
        right = max(min(rights[from_right] - 1, last), first)
        if left - first > last - right:
            bins = left, last
            from_left += 1
        else:
            bins = first, right
            from_right += 1
        if bins == (first, last):
            continue
        now = error(*bins)
        if now > least:
            break
        (first, last), least = bins, now
    return first, last


@cache
def _shares() -> tuple[Any, Any]:
    """The share of the values below the range, and the share up to its end, after each step of one side."""
    steps = numpy.full(round(1 / STEP) + 2, STEP)
    steps[0] = 0
    below = numpy.add.accumulate(steps)
    steps[0] = 1
    return below, numpy.subtract.accumulate(steps)
