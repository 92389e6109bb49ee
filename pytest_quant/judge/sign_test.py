"""The sign test of the speed gate: coin flips, counted until one side is proven.

Each timing round is a coin flip: heads if the round is on the far side of the threshold. The
hypothesis to refute is "heads is never more likely than tails": P(heads | past rounds) <= 1/2.
A bet of share 2p - 1 on heads multiplies a capital of 1 by 2p on heads and by 2 (1 - p) on tails,
which loses or breaks even on average under that hypothesis for every p in (1/2, 1]. Starting
with the capital spread evenly over all those p gives, after k heads in n rounds,

    K(n, k) = 2 * integral over p in (1/2, 1] of (2p)^k (2 - 2p)^(n - k) dp
            = sum_{j = 0..k} C(n + 1, j) / ((n + 1) C(n, k)),

the second line by writing the incomplete beta integral as a binomial tail. A capital that cannot
be expected to grow exceeds 1/alpha at any time with probability at most alpha (Ville's
inequality), so the rounds may be stopped after any look at K. Nothing else is assumed: neither
a distribution, nor a variance, nor independence of the machine's drift.

Sources: Ville, "Etude critique de la notion de collectif" (1939); Robbins, "Statistical methods
related to the law of the iterated logarithm", Ann. Math. Statist. 41 (1970), for the mixture;
Howard and Ramdas, "Sequential estimation of quantiles", Bernoulli 28 (2022), arXiv 1906.09712,
for confidence sequences of a median.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import count


def capital(n: int, k: int) -> Fraction:
    """The capital K(n, k) won by betting on heads, exact; see the module for its derivation.

    Args:
        n: rounds played, 0 or more.
        k: heads among them, 0 to n. A round that is neither heads nor tails counts in n only.

    Raises:
        ValueError: n is negative, or k is not in 0..n.
    """
    if not 0 <= k <= n:
        raise ValueError(f"k heads in n rounds needs 0 <= k <= n; given n = {n}, k = {k}")
    return Fraction(sum(math.comb(n + 1, j) for j in range(k + 1)), (n + 1) * math.comb(n, k))


def is_proven(n: int, k: int, alpha: float) -> bool:
    """Whether k heads in n rounds refute "heads is never more likely than tails" at alpha.

    May be asked after every round: the probability that it is ever true under that hypothesis is
    at most ``alpha``. The comparison K(n, k) >= 1/alpha is exact, alpha being read as the decimal
    number that it prints as.

    Raises:
        ValueError: as `capital`, or alpha is not between 0 and 1.
    """
    return capital(n, k) * _exact(alpha) >= 1


def fewest_rounds(alpha: float) -> int:
    """The fewest rounds that can prove anything: all heads; 9, 13 and 17 for 1e-2, 1e-3, 1e-4."""
    return next(n for n in count(1) if is_proven(n, n, alpha))


@lru_cache(maxsize=4096)  # one value for each n up to the cap on rounds, for a handful of alphas
def rank(n: int, alpha: float) -> int | None:
    """Which order statistic bounds the median from below at alpha, at whatever n one stops.

    With k* the fewest heads that are proven in n rounds, the rank is r = n - k* + 1: the median
    is at least the r-th smallest and, by symmetry, at most the r-th largest of n values, each
    with error at most ``alpha`` over all n together. None where even n heads prove nothing.

    K grows with k, so k* is found by walking down from n heads, the sum of binomial coefficients
    losing one term at a time: well under a millisecond for n = 300.
    """
    exact = _exact(alpha)
    heads, binomial, tail = n, 1, 2 ** (n + 1) - 1  # C(n, heads), sum_{j <= heads} C(n + 1, j)
    while tail * exact.numerator >= (n + 1) * binomial * exact.denominator:
        tail -= math.comb(n + 1, heads)
        binomial = binomial * heads // (n - heads + 1)
        heads -= 1
    return n - heads if heads < n else None


def median_interval(values: Sequence[float], alpha: float) -> tuple[float, float] | None:
    """Bounds of the median of ``values`` that hold at every n at once, with alpha for each side.

    Args:
        values: at least the `fewest_rounds`; each a draw with the same median given the past.
        alpha: error probability of each of the two bounds; both hold with 1 - 2 alpha.

    Returns:
        (lower, upper), two of the values; None while there are too few for any bound.

    Raises:
        ValueError: a value is NaN, which has no place in an order; or alpha is not in (0, 1).
    """
    if any(math.isnan(value) for value in values):
        raise ValueError("the values hold a NaN, so they have no median; drop that round first")
    lowest = rank(len(values), alpha)
    if lowest is None:
        return None
    ordered = sorted(values)
    return float(ordered[lowest - 1]), float(ordered[len(ordered) - lowest])


def _exact(alpha: float) -> Fraction:
    """Alpha as the decimal number that the user wrote: 0.001, not its nearest binary fraction."""
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is an error probability between 0 and 1; given {alpha!r}")
    return Fraction(str(float(alpha)))
