"""Exact mean: of many scores without rounding, in milliseconds."""

from fractions import Fraction
from typing import Any

import numpy as np

from pytest_quant.variant.evaluation import counted

MANTISSA, HALF = 53, 26  # bits of a float64, and about half of them


def exact_mean(scores: "np.ndarray[Any, Any]") -> Fraction:
    """Of the samples that have a score, without rounding.

    A float is a whole number of 53 bits times a power of two; those of one power are added up as whole
    numbers, in two halves that 64 bits hold for 2**36 samples.
    """
    scores = counted(scores)
    fractions, powers = np.frexp(scores)
    wholes = np.ldexp(fractions, MANTISSA).astype(np.int64)
    total = Fraction(0)
    for power in np.unique(powers).tolist():
        some = wholes[powers == power]
        high, low = int((some >> HALF).sum()), int((some & (2**HALF - 1)).sum())
        total += Fraction((high << HALF) + low) * Fraction(2) ** (power - MANTISSA)
    return total / len(scores)
