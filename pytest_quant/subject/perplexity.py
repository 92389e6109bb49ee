"""Perplexity: what a mean negative log likelihood, or a rise of it, is for a person."""

import math
from fractions import Fraction


def perplexity_of(nats: float | Fraction) -> float:
    """``exp`` of a mean in nats; infinite where no float is that large, from about 709 nats on."""
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf


def rise_of(nats: float | Fraction) -> float:
    """The share by which perplexity rises when the mean rises by this much; infinite as above."""
    try:
        return math.expm1(nats)
    except OverflowError:
        return math.inf
