"""Tango's score test and bounds for the accuracy drop of one model against another, paired.

For right-or-wrong scores on n samples drawn from a population: b samples that FP32 gets right and
the variant wrong, c the other way round. The drop is d = P(only FP32 right) - P(only the variant
right), estimated by (b - c) / n. The score test of "d = D" divides the surplus b - c - n D by its
standard deviation under that hypothesis, with the chance of the c cell at its most likely value
given d = D. Unlike Wald's or Student's interval it does not take b = c = 0 for certainty.

The normal approximation is skewed where few losses are expected, and errs on one side only:
"drop <= D" with D >= 0 (a PASS) is declared in error with at most 1.33, 1.03 and 1.00 times alpha
at alpha = 0.05, 0.01 and 0.001, but "drop > D" (a FAIL) with up to 1.9, 2.6 and 3.8 times. So the
latter takes half a sample (continuity) and the first Cornish-Fisher term of the skewness off the
surplus, and then errs with at most 1.00 times alpha. Both enumerated exactly over n = 20..10000,
disagreement up to 10 % and margins of 0 to 5 points; tests/judge repeats a part of it.

Sources: Tango, "Equivalence test and confidence interval for the difference in proportions for
the paired-sample design", Statistics in Medicine 17 (1998) 891-908, for the statistic;
Cornish and Fisher, Revue de l'Institut International de Statistique 5 (1938) 307-320, for the
skewness term (the use that Gart and Nam, Biometrics 44 (1988) 323-338, make of it in score
tests); Nam, "Establishing equivalence of two treatments and sample size requirements in
matched-pairs design", Biometrics 53 (1997) 1422-1430, for the number of samples.
"""

import math
from statistics import NormalDist

# Halving the interval (-1, 1) this often reaches the spacing of floats next to 1.
HALVINGS = 53

# The surplus moves in steps of one sample; a tail of it is half a step wider than the normal's.
CONTINUITY = 0.5


def proves_at_most(b: int, c: int, n: int, margin: float, alpha: float) -> bool:
    """PASS: whether the counts refute "the drop exceeds the margin" at alpha, one-sided.

    Args and raises: as `tango_statistic`, and alpha between 0 and 1/2.
    """
    if margin < 0:  # the variant must gain: the mirror image of a proven loss
        return proves_above(c, b, n, -margin, alpha)
    return tango_statistic(b, c, n, margin) <= -_normal_quantile(alpha)


def proves_above(b: int, c: int, n: int, margin: float, alpha: float) -> bool:
    """FAIL: whether the counts refute "the drop is within the margin" at alpha, one-sided.

    Stricter than Tango's statistic by the corrections that the module explains.

    Args and raises: as `tango_statistic`, and alpha between 0 and 1/2.
    """
    if margin < 0:
        return proves_at_most(c, b, n, -margin, alpha)
    critical = _normal_quantile(alpha)
    if tango_statistic(b, c, n, margin) < critical:
        return False
    variance = _variance_under((b / n, c / n), margin)
    third_moment = margin * (1 - 3 * variance - margin * margin)  # of one sample's difference
    skew = max(0.0, critical * critical - 1) / 6 * max(0.0, third_moment) / variance
    return b - c - n * margin - CONTINUITY - skew >= critical * math.sqrt(n * variance)


def drop_bounds(b: int, c: int, n: int, alpha: float) -> tuple[float, float]:
    """(lower, upper) bound of the drop, each one-sided at alpha; together a 1 - 2 alpha interval.

    The drops in [-1, 1] that neither `proves_above` nor `proves_at_most` would refute, so that
    bounds and verdict always agree; found by bisection, since both give way as the drop that they
    are asked about moves away from the observed one. Where the interval holds 0 it is Tango's.

    Args and raises: as `tango_statistic`, and alpha between 0 and 1/2.
    """
    return -_upper_bound(c, b, n, alpha), _upper_bound(b, c, n, alpha)


def tango_statistic(b: int, c: int, n: int, drop: float) -> float:
    """The score statistic T(D) of "the drop is D"; about standard normal where that is true.

    Large and negative: the drop is smaller than D; large and positive: it is larger. At D = 0 it
    is McNemar's (b - c) / sqrt(b + c). Where both surplus and deviation vanish, at D = (b - c) / n
    with b = c = 0, b = n or c = n, it is 0, its limit from either side.

    Args:
        b: samples that only FP32 gets right.
        c: samples that only the variant gets right.
        n: all samples, including those on which both agree.
        drop: D, in [-1, 1] as a fraction (0.01 is one point).

    Raises:
        ValueError: the counts do not fit into n >= 1 samples, or the drop not into [-1, 1].
    """
    if b < 0 or c < 0 or n < 1 or b + c > n:
        raise ValueError(
            f"b and c count different ones of n >= 1 samples; given b = {b}, c = {c}, n = {n}"
        )
    if not -1 <= drop <= 1:
        raise ValueError(f"a drop is a fraction in [-1, 1] (0.01 is one point); given {drop!r}")
    if drop < 0:  # by symmetry; above 0 no term of the variance can be negative or cancel
        return -tango_statistic(c, b, n, -drop)
    surplus = b - c - n * drop
    variance = n * _variance_under((b / n, c / n), drop)
    if variance > 0:
        return surplus / math.sqrt(variance)
    return math.copysign(math.inf, surplus) if surplus else 0.0


def samples_needed(
    psi: float, margin: float, drop: float, alpha: float, power: float = 0.9
) -> int | None:
    """About how many samples would make `proves_at_most` pass with the given power.

    Uses the variance under the margin for alpha and the true one for the power, (Nam 1997)

        n = ((z_alpha sqrt(v0) + z_power sqrt(v1)) / (margin - drop))^2,

    which stays sensible at psi = 0, where the simpler (z_alpha + z_power)^2 psi / (margin -
    drop)^2 says that no sample at all is needed.

    Args:
        psi: the disagreement rate (b + c) / n, as observed.
        margin: the allowed drop.
        drop: the true drop, for instance (b - c) / n as observed.
        alpha: one-sided error probability of the test, below 1/2.
        power: the wanted probability of a PASS, at least 1/2.

    Returns:
        The number of samples, or None if the drop is not below the margin, when none suffices.

    Raises:
        ValueError: a rate outside its range.
    """
    if not (0 <= psi <= 1 and -1 < drop <= 1 and -1 < margin < 1 and 0.5 <= power < 1):
        raise ValueError(
            "psi must be in [0, 1], drop and margin fractions within (-1, 1), power in [0.5, 1); "
            f"given psi = {psi!r}, drop = {drop!r}, margin = {margin!r}, power = {power!r}"
        )
    critical = _normal_quantile(alpha)
    if margin <= drop:
        return None
    psi = max(psi, abs(drop))  # equal when all disagreements go one way, up to rounding
    only_fp32, only_variant = (psi + drop) / 2, (psi - drop) / 2
    if margin >= 0:
        v0 = _variance_under((only_fp32, only_variant), margin)
    else:
        v0 = _variance_under((only_variant, only_fp32), -margin)
    v1 = psi - drop * drop
    reach = critical * math.sqrt(v0) + NormalDist().inv_cdf(power) * math.sqrt(v1)
    return max(1, math.ceil((reach / (margin - drop)) ** 2))


def _variance_under(shares: tuple[float, float], drop: float) -> float:
    """The variance of one sample's difference if the drop were ``drop`` >= 0, most likely cells.

    With shares b/n and c/n, the chance q of the c cell that maximises the likelihood under
    P(b cell) = q + D is the larger root of 2 q^2 + B q - c/n D (1 - D) = 0, Tango's equation
    divided by n. The variance is 2 q + D - D^2.
    """
    only_fp32, only_variant = shares
    spread = drop * (1 - drop)
    linear = 2 * drop - (only_fp32 + only_variant) - (only_fp32 - only_variant) * drop
    root = math.sqrt(linear * linear + 8 * only_variant * spread)
    # Of the two forms of the root, the one that does not subtract two nearly equal numbers.
    q = 2 * only_variant * spread / (linear + root) if linear > 0 else (root - linear) / 4
    return 2 * q + spread


def _upper_bound(b: int, c: int, n: int, alpha: float) -> float:
    """The smallest drop that the counts prove not to be exceeded; 1 if there is none below."""
    within, beyond = (b - c) / max(n, 1), 1.0  # no samples at all are refused just below
    for _ in range(HALVINGS):
        middle = (within + beyond) / 2
        if proves_at_most(b, c, n, middle, alpha):
            beyond = middle
        else:
            within = middle
    return beyond


def _normal_quantile(alpha: float) -> float:
    """The value that a standard normal exceeds with probability alpha."""
    if not 0 < alpha < 0.5:
        raise ValueError(f"alpha is a one-sided error probability below 1/2; given {alpha!r}")
    return -NormalDist().inv_cdf(alpha)
