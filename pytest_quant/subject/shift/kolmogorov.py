"""Kolmogorov and Smirnov's test of two samples, for many columns at once."""

from typing import Any

import numpy as np

TERMS = 100  # of a series whose terms fall as exp(-2 k^2 lambda^2)


def kolmogorov_smirnov(one: Any, other: Any) -> Any:
    """The p-value of each column: how probable so large a distance of the two empirical distributions is
    when both samples are of one continuous distribution; of one with ties it is less.

    With D the largest distance and m = n1 n2 / (n1 + n2), P(D > d) is near
    2 sum_k (-1)^(k-1) exp(-2 k^2 l^2) with l = (sqrt(m) + 0.12 + 0.11 / sqrt(m)) d.
    (Smirnov, "Table for estimating the goodness of fit of empirical distributions", Annals of
    Mathematical Statistics 19, 1948; the correction for small samples is Stephens', Journal of the Royal
    Statistical Society B 32, 1970.)

    Args:
        one: [n1, columns] floats.
        other: [n2, columns] floats.

    Returns:
        [columns] floats in [0, 1].
    """
    root = np.sqrt(len(one) * len(other) / (len(one) + len(other)))
    return _survival((root + 0.12 + 0.11 / root) * distances(one, other))


def distances(one: Any, other: Any) -> Any:
    """The largest distance of the two empirical distribution functions, of each column."""
    found = np.empty(one.shape[1])
    for column, (left, right) in enumerate(zip(np.sort(one.T), np.sort(other.T), strict=True)):
        both = np.concatenate([left, right])
        below_left = np.searchsorted(left, both, side="right") / len(left)
        below_right = np.searchsorted(right, both, side="right") / len(right)
        found[column] = np.abs(below_left - below_right).max()
    return found


def _survival(at: Any) -> Any:
    terms = np.arange(1, TERMS + 1)[:, None]
    series = (-1.0) ** (terms - 1) * np.exp(-2 * terms**2 * np.maximum(at, 0.2) ** 2)
    return np.clip(2 * series.sum(0), 0.0, 1.0)  # below 0.2 it is 1 to twelve digits
