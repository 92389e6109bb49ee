"""Limit: what a candidate is to hold, and how it is tried."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from pytest_quant.errors import QuantStageError
from pytest_quant.judge.flips import flips_of
from pytest_quant.judge.limits import checked
from pytest_quant.measure.nearness import defined_nearness
from pytest_quant.subject.metrics import Metric
from pytest_quant.variant.evaluation import has_flips
from pytest_quant.variant.variant import Variant


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate that was tried.

    Args:
        passed: whether it holds the limit.
        value: that was found on the samples that were seen, in the unit of the limit.
        samples: seen; 0 where that is one batch.
    """

    passed: bool
    value: float
    samples: int


class Limit(Protocol):
    """The limit of a gate."""

    @property
    def gate(self) -> str:
        """Its name, as in `LIMITS`."""

    @property
    def most(self) -> float:
        """Its number."""

    @property
    def arguments(self) -> tuple[str, ...]:
        """Of the gate's helper, beside the number, as Python."""

    def trial(self, candidate: Variant) -> Trial:
        """Whether a candidate holds it, by no more samples than it takes to know."""

    def shown(self, value: float) -> str:
        """What a trial found, for people: ``drop 0.37 pt``."""

    def nearest(self, one: float, other: float) -> float:
        """Of two values that do not hold it."""


@dataclass(frozen=True, slots=True)
class SqnrLimit:
    """The SQNR of the outputs, in dB, that a variant is to keep at least."""

    most: float
    gate: str = "min_sqnr"
    arguments: tuple[str, ...] = ()

    def trial(self, candidate: Variant) -> Trial:
        """On the first eval batch, as the gate does."""
        found = defined_nearness(candidate)
        return Trial(found >= self.most, found, 0)

    def shown(self, value: float) -> str:
        """As the protocol says."""
        return f"SQNR {value:.1f} dB"

    def nearest(self, one: float, other: float) -> float:
        """As the protocol says."""
        return max(one, other)


@dataclass(frozen=True, slots=True)
class FlipsLimit:
    """The share of samples, in [0, 1], whose score may differ from FP32's."""

    most: float
    metric: Metric
    gate: str = "max_flips"
    arguments: tuple[str, ...] = ()

    def trial(self, candidate: Variant) -> Trial:
        """On all samples."""
        flips, samples = flips_of(candidate, self.metric)
        share = Fraction(flips, samples)
        return Trial(share <= Fraction(str(self.most)), float(share), samples)

    def shown(self, value: float) -> str:
        """As the protocol says."""
        return f"flips {100 * value:.2f} %"

    def nearest(self, one: float, other: float) -> float:
        """As the protocol says."""
        return min(one, other)


def sqnr_limit(db: float) -> SqnrLimit:
    """A limit on the SQNR.

    Raises:
        TypeError, ValueError: for what is no such limit.
    """
    return SqnrLimit(checked("min_sqnr", db))


def flips_limit(variant: Variant, share: float) -> FlipsLimit:
    """A limit on the flips of the variant's first metric.

    Raises:
        TypeError, ValueError: for what is no such limit.
        QuantStageError: where flips say nothing.
    """
    metric = variant.admitted.metrics[0]
    limit = FlipsLimit(checked("max_flips", share), metric)
    if not has_flips(metric) or metric.name not in variant.evaluation.scores:
        raise QuantStageError("evaluate", f"metric {metric.name} has no flips")
    return limit
