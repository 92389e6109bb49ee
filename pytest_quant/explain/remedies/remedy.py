"""Remedy: a recipe that was measured to hold the limit, or an honest none."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Remedy:
    """What `mend` found.

    Args:
        variant, model, where: of whom.
        max_drop: the limit that was to hold, in the unit of `gate`; of an accuracy drop the metric's.
        drop: what the proposal as built has in that unit, measured on the eval data; without one, the
            nearest to the limit that was found. None where that is no finite number.
        recipe: the proposal, as `Recipe.to_dict` gives it; None when none was found.
        line: the proposal as Python to paste, with what was measured; empty when none was found.
        kept: the layers that it keeps FP32, beyond those that were kept before.
        size_ratio: of the proposal's bytes to FP32's; None without a proposal.
        speedup: of the proposal against FP32; None without a proposal or when not timed.
        evaluations: passes over the eval data, or a part of it, that the search took.
        builds: variants that were built.
        seconds: that the search took.
        trials: what was tried and what came of it, in words, in order.
        sentences: what follows, for a person.
        paste: the proposal as lines of Python for a conftest.py or a test file, with its imports; empty
            when none was found.
        gate: whose limit it is: ``max_accuracy_drop``, ``max_flips`` or ``min_sqnr``, whose `max_drop`
            and `drop` are decibels to be reached.
    """

    variant: str
    model: str
    where: str
    max_drop: float
    drop: float | None
    recipe: Mapping[str, Any] | None
    line: str
    kept: tuple[str, ...]
    size_ratio: float | None
    speedup: float | None
    evaluations: int
    builds: int
    seconds: float
    trials: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()
    paste: str = ""
    gate: str = "max_accuracy_drop"

    @property
    def found(self) -> bool:
        """Whether there is a proposal, which was built and measured to hold the limit."""
        return self.recipe is not None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        plain = asdict(self)
        return {**plain, **{k: list(plain[k]) for k in ("kept", "trials", "sentences")}}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Remedy":
        """What `to_dict` wrote."""
        return cls(**{**plain, **{k: tuple(plain[k]) for k in ("kept", "trials", "sentences")}})

    def __str__(self) -> str:
        return "\n".join([*filter(None, [self.line]), *self.sentences, *_block(self.paste)])


def _block(paste: str) -> list[str]:
    """Set off by an empty line."""
    return ["", paste] if paste else []
