"""Tuned: what is known of how a prepared model was calibrated or trained."""

from dataclasses import dataclass
from typing import Any

from pytest_quant.subject.shift.traits import Seen


@dataclass(frozen=True, slots=True)
class Tuned:
    """What came of it, the model apart.

    Args:
        on: digests of the inputs that did it, as far as they were seen.
        notes: what a reader should know.
        inputs: of one batch that calibrated it; None where training did.
        seen: the inputs that calibrated it, or the first that code of the user's gave it; None where our
            own loop trained it.
    """

    on: frozenset[bytes] = frozenset()
    notes: tuple[str, ...] = ()
    inputs: Any = None
    seen: Seen | None = None
