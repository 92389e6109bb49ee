"""Verdict: what a gate says of a measurement, with its evidence and one sentence for a person."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_quant.variant.variant import Variant


class Outcome(StrEnum):
    """PASS and FAIL are proven; all else is INCONCLUSIVE, never passed."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A limit on a measurement, judged.

    Args:
        gate: the limit's name, as in `assert_gates`: ``max_accuracy_drop``, ``min_speedup``, ...; against
            a baseline ``no_regression``.
        quantity: what was measured: ``accuracy``, ``speed-up``, ``size``, ``int8 share``, ``flips``.
        outcome: PASS, FAIL or INCONCLUSIVE.
        sentence: starts with the quantity and the outcome.
        limit: as given.
        observed: in the limit's unit; None when nothing could be observed.
        model, where, variant, metric: whose; metric is None for gates that have none.
        evidence: plain JSON types: sample counts, intervals, rounds.
    """

    gate: str
    quantity: str
    outcome: Outcome
    sentence: str
    limit: float
    observed: float | None
    model: str
    variant: str
    where: str = ""
    metric: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def on(
        cls,
        variant: "Variant",
        gate: str,
        quantity: str,
        outcome: Outcome,
        sentence: str,
        *,
        limit: float,
        observed: float | None,
        metric: str | None = None,
        evidence: Mapping[str, Any] | None = None,
    ) -> "Verdict":
        """A verdict on a variant; the sentence is given without quantity and outcome."""
        return cls(
            gate,
            quantity,
            outcome,
            f"{quantity} {outcome}: {sentence}",
            limit,
            observed,
            variant.subject.label,
            variant.name,
            variant.subject.where,
            metric,
            evidence or {},
        )

    def __str__(self) -> str:
        return self.sentence

    @property
    def passed(self) -> bool:
        """Whether the limit is proven to hold."""
        return self.outcome is Outcome.PASS

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        plain = asdict(self)
        return {**plain, "outcome": str(self.outcome), "evidence": dict(self.evidence)}
