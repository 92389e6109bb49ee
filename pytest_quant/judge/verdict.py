"""Verdict: what a gate says of a measurement, with its evidence and one sentence for a person."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pytest_quant.errors import terminal_safe
from pytest_quant.variant.key import ADDED, RowKey, key_of

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
        clause: what was seen and what is allowed, for a person.
        limit: as given.
        observed: in the limit's unit; None when nothing could be observed.
        model, where, variant, metric: whose; metric is None for gates that have none.
        model_ids, variant_ids: as in a `RowKey`.
        evidence: plain JSON types: sample counts, intervals, rounds.
    """

    gate: str
    quantity: str
    outcome: Outcome
    clause: str
    limit: float
    observed: float | None
    model: str
    variant: str
    where: str = ""
    metric: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    model_ids: str = ""
    variant_ids: str = ""

    @classmethod
    def on(
        cls,
        variant: "Variant",
        gate: str,
        quantity: str,
        outcome: Outcome,
        clause: str,
        *,
        limit: float,
        observed: float | None,
        metric: str | None = None,
        evidence: Mapping[str, Any] | None = None,
    ) -> "Verdict":
        """A verdict on a variant.

        Args:
            variant: that was judged.
            gate: the limit's name.
            quantity: what was measured, in a word or two.
            outcome: of the judgement.
            clause: what was seen and what is allowed; the verdict's sentence puts quantity and
                outcome before it.
            limit, observed: in one unit; None where nothing could be observed.
            metric: of which it is; None for a gate that has none.
            evidence: plain JSON types.
        """
        return cls(
            gate,
            quantity,
            outcome,
            clause,
            limit,
            observed,
            metric=metric,
            evidence=evidence or {},
            **key_of(variant)._asdict(),
        )

    def __str__(self) -> str:
        return self.sentence

    @property
    def key(self) -> RowKey:
        """Of the row that it is on."""
        return RowKey(self.where, self.model, self.variant, self.model_ids, self.variant_ids)

    @property
    def sentence(self) -> str:
        """Quantity, outcome and what was seen, for a person."""
        return terminal_safe(f"{self.quantity} {self.outcome}: {self.clause}")

    @property
    def passed(self) -> bool:
        """Whether the limit is proven to hold."""
        return self.outcome is Outcome.PASS

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        plain = {"sentence" if k == "clause" else k: v for k, v in asdict(self).items()}
        told = {"sentence": self.sentence, "outcome": str(self.outcome)}
        plain = {**plain, **told, "evidence": dict(self.evidence)}
        return {name: plain[name] for name in plain if plain[name] or name not in ADDED}


def clause_of(plain: Mapping[str, Any]) -> str:
    """The clause of a verdict that `Verdict.to_dict` wrote, which puts two of its fields before it."""
    before = terminal_safe(f"{plain['quantity']} {plain['outcome']}: ")
    return terminal_safe(str(plain["sentence"])).removeprefix(before)
