"""Squared error: what quantizing the values of a histogram costs, for many ranges at once.

A value within the range is rounded to the nearest level, one beyond it is clipped to the last
level. A range always holds zero, and zero is a level, as in all of PyTorch's int8 schemes.
"""

from dataclasses import dataclass

import numpy as np

from pytest_quant.quantize.histogram import Bins, Floats

# Bins narrower than this share of the widest are taken as points: the difference of two integrals
# over less would be rounding.
POINT = 1e-6


@dataclass(frozen=True, slots=True)
class Levels:
    """The quantized levels, as the observer was told.

    Args:
        count: how many: quant_max - quant_min + 1.
        zero: which one stands for zero, counted from 0; None where the range decides (affine).
        least_step: the smallest step between two levels (PyTorch's ``eps``).
    """

    count: int
    zero: int | None = None
    least_step: float = 0.0

    def steps(self, lows: Floats, highs: Floats) -> Floats:
        """The distance of two levels for each range that holds zero, all [p]."""
        floor = max(self.least_step, np.finfo(np.float64).tiny)
        return np.maximum((highs - lows) / (self.count - 1), floor)


def squared_error(bins: Bins, levels: Levels, lows: Floats, highs: Floats) -> Floats:
    """The summed squared error for each range, [p]; exact for values that lie evenly in each bin.

    With r(x) the distance to the nearest level, the integral of r^2 from zero is, in steps, 1/12 for
    each whole level passed and r^3 / 3 from the last; beyond the outermost level it is a parabola's.

    Args:
        lows, highs: ends of the ranges, [p], with low <= 0 <= high.
    """
    step = levels.steps(lows, highs)
    zero = np.clip(np.round(-lows / step), 0, levels.count - 1)
    if levels.zero is not None:
        zero = np.full_like(step, levels.zero)
    lowest, highest = (-zero * step)[:, None], ((levels.count - 1 - zero) * step)[:, None]
    step = step[:, None]

    def integral(x: Floats) -> Floats:
        within = np.clip(x, lowest, highest)
        passed = np.round(within / step)
        off, beyond = within - passed * step, x - within
        return passed * step**3 / 12 + (off**3 + beyond**3) / 3

    def at(x: Floats) -> Floats:
        within = np.clip(x, lowest, highest)
        return np.square(x - np.round(within / step) * step)

    widths = bins.ends - bins.starts
    points = widths <= POINT * widths.max()
    error = np.zeros((len(lows), len(widths)))
    wide = ~points
    error[:, wide] = (integral(bins.ends[wide]) - integral(bins.starts[wide])) / widths[wide]
    error[:, points] = at((bins.starts[points] + bins.ends[points]) / 2)
    return np.asarray(error @ bins.counts)


def rough_squared_error(bins: Bins, levels: Levels, lows: Floats, highs: Floats) -> Floats:
    """About the same for thousands of ranges, from running sums instead of a pass over the bins.

    Values that round to zero cost their square, others within the range step^2 / 12, and those
    beyond it the square of their distance.
    """
    starts, ends = bins.starts, bins.ends
    moments = (
        np.ones_like(starts),
        (starts + ends) / 2,
        (starts**2 + starts * ends + ends**2) / 3,
    )
    running = [bins.running(bins.counts * moment) for moment in moments]
    totals = [sums[-1] for _, sums in running]

    def below(x: Floats, power: int) -> Floats:
        return np.interp(x, *running[power])

    step = levels.steps(lows, highs)
    zeroed_high, zeroed_low = np.minimum(step / 2, highs), np.maximum(-step / 2, lows)
    zeroed = below(zeroed_high, 2) - below(zeroed_low, 2)
    rounded = below(highs, 0) - below(zeroed_high, 0) + below(zeroed_low, 0) - below(lows, 0)
    clipped = below(lows, 2) - 2 * lows * below(lows, 1) + lows**2 * below(lows, 0)
    clipped += totals[2] - below(highs, 2) - 2 * highs * (totals[1] - below(highs, 1))
    clipped += highs**2 * (totals[0] - below(highs, 0))
    return np.asarray(zeroed + rounded * step**2 / 12 + clipped)
