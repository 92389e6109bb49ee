"""Exact tails: how likely chance alone gives as many as were seen, or more; and Holm's correction.

Tails are sums of probabilities in logarithms, each from the one before by an exact ratio, so that neither
large counts overflow nor small tails vanish; tests hold them against SciPy's.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

LEAST = 1e-12  # a smaller p-value says no more


def sign_tail(lost: int, won: int) -> float:
    """The p-value of the one-sided sign test: P(X >= lost) for X of Binomial(lost + won, 1/2).

    For paired right-or-wrong scores it is McNemar's exact test. Samples that score alike say nothing
    and are left out.
    """
    n = lost + won
    above = np.arange(lost, n)
    logs = _log_comb(n, lost) - n * math.log(2) + _sums(np.log((n - above) / (above + 1.0)))
    return _total(logs)


def drawn_tail(drawn: int, size: int, marked: int, of: int) -> float:
    """P(X >= drawn) for the marked ones among `size` that are drawn at random of `of`, of which `marked`
    are marked: the hypergeometric tail of Fisher's exact test."""
    most, least = min(size, marked), max(0, size + marked - of)
    if drawn <= least:
        return 1.0
    if drawn > most:
        return 0.0
    k = np.arange(drawn, most, dtype=np.float64)
    ratios = (marked - k) * (size - k) / ((k + 1) * (of - marked - size + k + 1))
    first = _log_comb(marked, drawn) + _log_comb(of - marked, size - drawn) - _log_comb(of, size)
    return _total(first + _sums(np.log(ratios)))


def holm(values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number: those of at most alpha can be rejected together, and the
    probability of any wrong rejection is at most alpha, however the tests depend on each other.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6 (1979) 65-70.
    """
    adjusted, highest = [0.0] * len(values), 0.0
    for done, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        highest = max(highest, min(1.0, (len(values) - done) * values[index]))
        adjusted[index] = highest
    return adjusted


def shown_chance(value: float) -> str:
    """A p-value for a person: ``= 0.02``, or that it is below what anybody tells apart."""
    return f"< {LEAST:g}" if value < LEAST else f"= {value:.1g}"


def _log_comb(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _sums(steps: Any) -> Any:
    """The sums of the first none, one, two, ... of them."""
    return np.concatenate([[0.0], np.cumsum(steps)])


def _total(logs: Any) -> float:
    largest = float(logs.max())
    return min(1.0, math.exp(largest + math.log(float(np.exp(logs - largest).sum()))))
