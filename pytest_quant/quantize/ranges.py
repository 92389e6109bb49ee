"""Ranges: the interval that the quantized levels should cover, found from a histogram.

Whatever is outside is clipped to its ends. Clipping the few largest values costs little and makes
the step between two levels smaller for all others; the three searches differ in what they count as
the cost. A range lies within the values seen; zero, where it is not among them, is added by PyTorch.
"""

import numpy as np

from pytest_quant.quantize.histogram import Bins, Floats
from pytest_quant.quantize.squared_error import Levels, rough_squared_error, squared_error

Range = tuple[float, float]

SMALLEST = 2.0**-12  # threshold tried, as a share of the largest absolute value
THRESHOLDS = 160  # tried by the entropy search; neighbours differ by 5 %
SIDE_THRESHOLDS = 100  # tried by the MSE search for each end; neighbours differ by 9 %
EXACT_PAIRS = 100_000  # of a range and a bin, for which the exact error is computed
REFINEMENTS = (0.04, 0.02, 0.01)  # relative moves of the ends of the best of them

# Of the entropy search: bins of the distribution for each level, levels that it tells apart, and
# what a bin without values counts for (the latter as in ONNX Runtime).
SUB_BINS = 8
MOST_LEVELS = 256
UNSEEN = 1e-4

# A count of values is compared with a share of all, which may come out a little too small.
ROUNDING = 1e-6


def percentile_range(bins: Bins, percentile: float) -> Range:
    """The narrowest range of whole bins with at most (100 - `percentile`) / 2 per cent beyond each end.

    All values count, zeros too. Where all have one sign (after a ReLU), the end next to zero stays.
    A range of zeros alone would wipe out a sparse tensor; then nothing is left out.

    Args:
        percentile: above 0, at most 100.
    """
    place = int(np.searchsorted(bins.starts, 0.0))
    starts, ends = np.insert(bins.starts, place, 0.0), np.insert(bins.ends, place, 0.0)
    counts = np.insert(bins.counts, place, bins.zeros)
    spare = counts.sum() * (100 - percentile) / 200 + ROUNDING
    upwards, downwards = np.cumsum(counts), np.cumsum(counts[::-1])[::-1]
    filled = counts > 0
    low, high = bins.low, bins.high
    if low < 0:
        low = float(starts[filled & (upwards > spare)][0])
    if high > 0:
        high = float(ends[filled & (downwards > spare)][-1])
    return (low, high) if low < high else (bins.low, bins.high)


def entropy_range(bins: Bins, levels: Levels) -> Range:
    """The range whose quantized values tell most about how the values are distributed.

    For each threshold t the values in [-t, t], as far as values were seen there, are P: their counts
    in `SUB_BINS` bins a level, with what is outside added to the outermost bins. Q is what the
    levels keep of the values inside: their counts a level, spread evenly over the bins that are not
    empty in P. The smallest relative entropy KL(P || Q) wins. Zeros are left out, since every range
    represents them exactly.

    The method: Migacz, "8-bit Inference with TensorRT", GTC 2017. There and in ONNX Runtime
    a bin is one of the histogram, so that small thresholds are judged on fewer bins than large
    ones; here it is a fixed share of the range, read from the running sum of the counts.
    """
    if bins.low == bins.high:
        return bins.low, bins.high
    lows, highs = _centred(bins, levels, THRESHOLDS)
    best = int(_divergence(bins, min(levels.count, MOST_LEVELS), lows, highs).argmin())
    return _within(bins, lows[best], highs[best])


def mse_range(bins: Bins, levels: Levels) -> Range:
    """The range with the smallest mean squared error of quantizing, rounding and clipping together.

    A rough error finds the best of all pairs of thresholds, below and above zero; the exact one
    (`squared_error`) decides among the best of these, and once more while the ends are moved. A value
    that is larger than all others together (in squares) is kept, whatever becomes of the others.
    """
    if bins.low == bins.high:
        return bins.low, bins.high
    lows, highs = _pairs(bins, levels)
    finalists = max(1, EXACT_PAIRS // len(bins.counts))
    promising = rough_squared_error(bins, levels, lows, highs).argsort()[:finalists]
    promising = np.append(promising, 0)  # the widest, so that the outcome is never worse than that
    low, high = _best(bins, levels, lows[promising], highs[promising])
    for move in REFINEMENTS:
        low, high = _best(bins, levels, *_around(bins, levels, low, high, move))
    return _within(bins, low, high)


def _centred(bins: Bins, levels: Levels, count: int) -> tuple[Floats, Floats]:
    """Ranges from -t to t, the widest first; affine levels take of each what was seen, and zero."""
    reach = max(-bins.low, bins.high)
    lows, highs = _mirrored(bins, reach * np.geomspace(1, SMALLEST, count))
    return (lows, highs) if levels.zero is not None else _seen(bins, lows, highs)


def _pairs(bins: Bins, levels: Levels) -> tuple[Floats, Floats]:
    """The ranges that the MSE search tries, the widest first."""
    if levels.zero is not None:
        return _centred(bins, levels, SIDE_THRESHOLDS)
    fractions = np.geomspace(1, SMALLEST, SIDE_THRESHOLDS)
    lows, highs = _seen(bins, bins.low * fractions, bins.high * fractions)
    below, above = np.meshgrid(np.unique(lows), np.unique(highs)[::-1])
    return below.ravel(), above.ravel()


def _around(
    bins: Bins, levels: Levels, low: float, high: float, move: float
) -> tuple[Floats, Floats]:
    """A range and those with its ends moved by a share of themselves."""
    moves = np.array([1, 1 - move, 1 + move])
    if levels.zero is not None:
        return _mirrored(bins, high * moves)
    below, above = np.meshgrid(low * moves, high * moves)
    return _seen(bins, below.ravel(), above.ravel())


def _best(bins: Bins, levels: Levels, lows: Floats, highs: Floats) -> Range:
    """The range with the smallest squared error; the first of several."""
    best = int(squared_error(bins, levels, lows, highs).argmin())
    return float(lows[best]), float(highs[best])


def _mirrored(bins: Bins, thresholds: Floats) -> tuple[Floats, Floats]:
    """Ranges from -t to t that hold a value seen, and are no wider than all of them."""
    within = np.clip(thresholds, max(bins.low, -bins.high, 0), max(-bins.low, bins.high))
    return -within, within


def _seen(bins: Bins, lows: Floats, highs: Floats) -> tuple[Floats, Floats]:
    """Ranges with zero that are no wider than the values seen, and hold one if all have one sign."""
    return (
        np.clip(lows, min(bins.low, 0), min(bins.high, 0)),
        np.clip(highs, max(bins.low, 0), max(bins.high, 0)),
    )


def _divergence(bins: Bins, levels: int, lows: Floats, highs: Floats) -> Floats:
    """KL(P || Q) of `entropy_range` for each range, [p]."""
    places, counted = bins.running(bins.counts)
    total = counted[-1]
    shares = np.linspace(0, 1, levels * SUB_BINS + 1)
    below = np.interp(lows[:, None] * (1 - shares) + highs[:, None] * shares, places, counted)
    inside = np.diff(below)
    p = inside.copy()
    p[:, 0] += below[:, 0]
    p[:, -1] += total - below[:, -1]
    by_level = (len(lows), levels, SUB_BINS)
    filled = (p > 0).reshape(by_level)
    kept = inside.reshape(by_level).sum(2, keepdims=True)
    q = filled * (kept / np.maximum(filled.sum(2, keepdims=True), 1))
    q = np.maximum(q.reshape(p.shape), UNSEEN)
    q /= q.sum(1, keepdims=True)
    p /= total
    return np.asarray((p * np.log(np.where(p > 0, p, 1) / q)).sum(1))


def _within(bins: Bins, low: float, high: float) -> Range:
    return float(max(low, bins.low)), float(min(high, bins.high))
