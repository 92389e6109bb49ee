"""Approximate bounds of a mean difference that has no bounds: Student's t on paired differences.

For scores such as a negative log-likelihood, where one sample may differ by any amount, no bound
is valid for every distribution. Student's assumes that the mean of the differences is about
normal, which rare large losses defeat: the fewer samples and the smaller alpha, the worse. Hence
the two minima, and hence the word "approximate" wherever the result is shown. For scores in a
known range use `pytest_quant.judge.betting`, for right-or-wrong ones
`pytest_quant.judge.score_bound`.

Sources: Student, "The probable error of a mean", Biometrika 6 (1908) 1-25; Abramowitz and Stegun,
"Handbook of Mathematical Functions" (1964), 26.7.5, for the expansion of the quantile.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

# Where 1 or 2 % of the samples lose much and the rest nothing, a one-sided t bound at alpha = 5 %
# misses the mean in 35 to 60 % of cases with 50 samples, 11 to 14 % with 200, 7 to 8 % with 1000.
MINIMUM_SAMPLES = 1000
# With 1000 such samples it misses in about 3 % of cases at alpha = 1 %, but in 1 % at 0.1 %: the
# further out in the tail, the less an alpha means. (Simulated; tests/judge repeats a part of it.)
MINIMUM_ALPHA = 0.01


@dataclass(frozen=True, slots=True)
class ApproximateDrop:
    """What a large sample suggests about the mean drop in the population it was drawn from."""

    n: int
    mean: float  # of the sample
    lower: float  # bounds of the population's mean, each with error probability about alpha
    upper: float
    alpha: float

    @property
    def label(self) -> str:
        """How the bounds must be named where they are shown."""
        return f"approximate ({1 - 2 * self.alpha:.0%} paired t interval of {self.n} samples)"

    def is_at_most(self, margin: float) -> bool:
        """PASS: the mean drop is within the margin, with error probability about alpha."""
        return self.upper <= margin

    def is_above(self, margin: float) -> bool:
        """FAIL: the mean drop exceeds the margin, with error probability about alpha."""
        return self.lower > margin


def approximate_drop(differences: Iterable[float], alpha: float) -> ApproximateDrop:
    """The paired t bounds of the mean difference, each one-sided at about alpha.

    They cannot see a loss that is too rare to be in the sample; differences that are all equal
    give bounds of no width.

    Args:
        differences: FP32's score minus the variant's (or the variant's loss minus FP32's), one for
            each of at least `MINIMUM_SAMPLES` samples, of any size but finite.
        alpha: error probability of each bound, at least `MINIMUM_ALPHA` and below 1/2.

    Raises:
        ValueError: too few samples, a difference that is not finite, or an alpha out of range.
    """
    values = np.array(list(differences), dtype=np.float64)
    if not MINIMUM_ALPHA <= alpha < 0.5:
        raise ValueError(
            f"the t interval is too rough for alpha = {alpha!r}; take one from {MINIMUM_ALPHA} up, "
            "below 0.5"
        )
    if len(values) < MINIMUM_SAMPLES:
        raise ValueError(
            f"{len(values)} samples; the t interval of an unbounded score needs at least "
            f"{MINIMUM_SAMPLES}"
        )
    if not np.isfinite(values).all():
        raise ValueError("a difference is not finite, so their mean means nothing")
    mean = float(values.mean())
    standard_error = float(values.std(ddof=1)) / math.sqrt(len(values))
    reach = -student_quantile(alpha, len(values) - 1) * standard_error
    return ApproximateDrop(len(values), mean, mean - reach, mean + reach, alpha)


def student_quantile(probability: float, degrees: int) -> float:
    """The quantile of Student's t from the normal's by a Cornish-Fisher expansion in 1 / degrees.

    Args:
        probability: in (0, 1).
        degrees: degrees of freedom; good to 1e-4 from 30 on, for probabilities in [0.001, 0.999].
    """
    z = NormalDist().inv_cdf(probability)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / degrees + second / degrees**2 + third / degrees**3
