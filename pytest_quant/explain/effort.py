"""Effort: what may be spent on finding a cause."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Effort:
    """What may be spent on finding a cause.

    Args:
        explain_seconds: on where a failed accuracy gate loses it; 0 for nothing.
        mend_seconds: on a search for a remedy; 0 for none.
    """

    explain_seconds: float = 30.0
    mend_seconds: float = 0.0


NO_EFFORT = Effort(0.0, 0.0)
