"""Bets on per-sample differences: is the mean drop within its limit, sample for sample?

A gambler with a capital of 1 bets, before each sample, that its difference x = FP32 score - variant
score (in [-1, 1]) falls below mu, the least that the hypothesis to refute lets him expect. The
capital is multiplied by 1 + c (mu - x) / (1 - mu), which does not grow on average if the
hypothesis holds, and stays positive for a fraction c < 1. So it ever exceeds 1/alpha with
probability at most alpha (Ville's inequality), for any distribution and at whatever sample one
stops. The best fraction being unknown, the capital is spread evenly over fourteen of them.

Two hypotheses, two uses: on a finite set the unseen mean follows from what was seen (`DropBet`:
betting without replacement, so that evaluation may stop early); in a population it is the margin
(`population_drop`).

Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", J. R.
Stat. Soc. B 86 (2024) 1-27, arXiv 2010.09686.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Number: TypeAlias = int | float | Fraction
Differences: TypeAlias = Iterable[Number] | NDArray[np.generic]
Floats: TypeAlias = NDArray[np.float64]

# Shares of the largest safe stake: small ones win where samples often disagree, large ones where
# they seldom do. Spreading the capital over a grid costs at most a factor of 14 once, and needs
# no tuning, unlike a bet that follows what was seen.
FRACTIONS: Floats = np.geomspace(0.01, 0.97, 14)

# Keeps the largest stake finite when only x = mu is possible any more.
LEAST_ROOM = 1e-9

# Far below the weight of one sample in any evaluation set.
BOUND_PRECISION = 1e-7


def allowed_total(margin: float, samples: int) -> Fraction:
    """The allowed mean drop as an exact total over the samples: 0.07 of 100 is 7, not 7.000...01.

    The margin is read as the decimal number that it prints as.
    """
    return Fraction(str(float(margin))) * samples


class DropBet:
    """Watches the drop over a finite set of samples and says as soon as the verdict is known.

    The set is all there is: once every sample is seen, the verdict is a comparison of two exact
    numbers. Before that it is known with certainty when the unseen samples cannot change it any
    more, and with error probability at most alpha (for each of PASS and FAIL) when a bet says so.
    The samples must come in a random order drawn before any was seen; batches may have any size.

    Args:
        samples: N, the size of the set.
        allowed: the largest acceptable total of the differences, see `allowed_total`.
        alpha: error probability of an early verdict; 0 stops at certainty only.
        zero_one: the scores are right or wrong, the differences -1, 0 or 1. Then the allowed total
            is rounded down, and one whole sample too many is refuted rather than any excess.

    Attributes:
        passed: the total over the set is at most the allowed one, certainly or proven at alpha.
        failed: the total exceeds the allowed one, certainly or proven at alpha.
        certain: the verdict cannot be wrong any more.
        seen: how many samples were seen.
        total: the exact total of their differences.

    Raises:
        ValueError: no samples, or alpha not in [0, 1).
    """

    def __init__(
        self, samples: int, allowed: Fraction | int, alpha: float, *, zero_one: bool = False
    ) -> None:
        if samples < 1 or not 0 <= alpha < 1:
            raise ValueError(
                "a set holds at least one sample, and alpha is an error probability in [0, 1); "
                f"given {samples} samples, alpha = {alpha!r}"
            )
        self.passed = self.failed = self.certain = False
        self.seen, self.total = 0, Fraction(0)
        self._samples, self._zero_one = samples, zero_one
        self._allowed = Fraction(math.floor(allowed) if zero_one else allowed)
        self._too_big = self._allowed + (1 if zero_one else 0)
        self._threshold = -math.log(alpha) if alpha else math.inf
        self._pass_logs = np.zeros_like(FRACTIONS)  # log capital against "the drop is too big"
        self._fail_logs = np.zeros_like(FRACTIONS)  # log capital against "it is acceptable"

    def update(
        self,
        differences: Differences,
        *,
        rest_max: Number | None = None,
        rest_min: Number | None = None,
    ) -> None:
        """Take the differences of the next samples into account.

        May be called after an early verdict too; only certainty then changes anything.

        Args:
            differences: FP32's score minus the variant's, one for each sample, in [-1, 1]. Totals
                are exact in the numbers given: pass Fractions where floats would round a tie.
            rest_max: the most that the samples unseen after these can add to the total; 1 each if
                not given. With FP32's scores known: how many of them FP32 gets right.
            rest_min: the least that they can add; -1 each if not given. With FP32's scores known:
                minus how many of them FP32 gets wrong.

        Raises:
            ValueError: a difference outside [-1, 1], not whole for 0/1 scores, or one too many.
        """
        exact = _as_numbers(differences)
        steps = _as_steps(exact)
        if self._zero_one and not np.isin(steps, (-1, 0, 1)).all():
            raise ValueError("right-or-wrong scores differ by -1, 0 or 1; pass zero_one=False")
        unseen = self._samples - self.seen - len(exact)
        if unseen < 0:
            raise ValueError(f"{-unseen} more differences than the set's {self._samples} samples")
        self._bet(steps)
        self.seen += len(exact)
        self.total += sum((Fraction(step) for step in exact), Fraction(0))
        most, least = Fraction(unseen), Fraction(-unseen)
        if rest_max is not None:
            most = min(most, Fraction(rest_max))
        if rest_min is not None:
            least = max(least, Fraction(rest_min))
        self._judge(most=self.total + most, least=self.total + least)

    def _bet(self, steps: Floats) -> None:
        """Play each sample against what the samples before it leave to expect of the rest."""
        before = float(self.total) + np.concatenate(([0.0], np.cumsum(steps)))[: len(steps)]
        unseen = self._samples - self.seen - np.arange(len(steps))
        too_big = np.clip((float(self._too_big) - before) / unseen, -1, 1)
        acceptable = np.clip((float(self._allowed) - before) / unseen, -1, 1)
        self._pass_logs += _log_growth(too_big, steps)
        self._fail_logs += _log_growth(-acceptable, -steps)

    def _judge(self, *, most: Fraction, least: Fraction) -> None:
        if most <= self._allowed or least > self._allowed:
            self.passed = most <= self._allowed
            self.failed, self.certain = not self.passed, True
        elif not (self.passed or self.failed):
            self.passed = _log_mean(self._pass_logs) >= self._threshold
            self.failed = not self.passed and _log_mean(self._fail_logs) >= self._threshold


@dataclass(frozen=True, slots=True)
class PopulationDrop:
    """What a random sample proves about the mean drop in the population it was drawn from."""

    n: int
    mean: float  # of the sample
    lower: float  # bounds of the population's mean, each with error probability at most alpha
    upper: float
    alpha: float
    passed: bool  # the population's mean is proven to be at most the margin
    failed: bool  # it is proven to exceed the margin


def population_drop(differences: Differences, margin: float, alpha: float) -> PopulationDrop:
    """Bounds of the population's mean drop, and whether it is proven within or above the margin.

    Valid for any distribution on [-1, 1] and any number of samples, unlike Student's t or the
    bootstrap, which know nothing of rare large losses that the sample happens to lack.
    All samples are at hand, so the final capital decides: a product, hence the same in any order,
    and no seed can be tried until it passes.

    Args:
        differences: FP32's score minus the variant's for each sample, in [-1, 1].
        margin: the allowed mean drop, in [-1, 1].
        alpha: error probability of each bound, of a PASS and of a FAIL; in (0, 1).

    Raises:
        ValueError: no differences, or a number outside its range.
    """
    steps = _as_steps(_as_numbers(differences))
    if not len(steps):
        raise ValueError("no differences given; a bound needs at least one sample")
    if not (-1 <= margin <= 1 and 0 < alpha < 1):
        raise ValueError(
            f"margin must be in [-1, 1], alpha in (0, 1); given {margin!r} and {alpha!r}"
        )
    values, counts = np.unique(steps, return_counts=True)
    return PopulationDrop(
        n=len(steps),
        mean=float(steps.mean()),
        lower=-_upper_bound(-values, counts, alpha),
        upper=_upper_bound(values, counts, alpha),
        alpha=alpha,
        passed=_refutes_at_least(margin, values, counts, alpha),
        failed=_refutes_at_least(-margin, -values, counts, alpha),
    )


def _upper_bound(values: Floats, counts: NDArray[np.intp], alpha: float) -> float:
    """The smallest mean whose "at least" is refuted, by bisection; the capital grows with it."""
    within, beyond = float(np.average(values, weights=counts)), 1.0
    while beyond - within > BOUND_PRECISION:
        middle = (within + beyond) / 2
        if _refutes_at_least(middle, values, counts, alpha):
            beyond = middle
        else:
            within = middle
    return beyond


def _refutes_at_least(mean: float, values: Floats, counts: NDArray[np.intp], alpha: float) -> bool:
    """Whether the capital bet against "the population's mean is at least this" reached 1/alpha."""
    return _log_mean(_log_growth(np.full_like(values, mean), values, counts)) >= -math.log(alpha)


def _log_growth(expected: Floats, steps: Floats, counts: NDArray[np.intp] | None = None) -> Floats:
    """Log growth of each fraction's capital, betting that the steps fall below the expected."""
    gains = (expected - steps) / np.maximum(1 - expected, LEAST_ROOM)
    weights = np.ones_like(steps) if counts is None else counts.astype(np.float64)
    growth: Floats = weights @ np.log1p(np.multiply.outer(gains, FRACTIONS))
    return growth


def _log_mean(logs: Floats) -> float:
    """The log of the mean of the capitals, which themselves may be too large for a float."""
    largest = float(logs.max())
    return largest + math.log(float(np.exp(logs - largest).mean()))


def _as_numbers(differences: Differences) -> list[Number]:
    """The differences as Python numbers, which neither overflow nor round when summed."""
    return list(differences.tolist() if isinstance(differences, np.ndarray) else differences)


def _as_steps(exact: list[Number]) -> Floats:
    """The differences as floats, checked."""
    steps = np.array(exact, dtype=np.float64)
    if not (np.abs(steps) <= 1).all():  # NaN compares as False
        raise ValueError("differences of scores in [0, 1] lie in [-1, 1]; rescale the metric first")
    return steps
