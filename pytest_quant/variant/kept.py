"""Kept: whether something that a run shows was made by it, or by an earlier one."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kept:
    """What the cache has to do with a build, or with an evaluation.

    Args:
        key: under which it is kept; None where it is not.
        is_old: whether an earlier run made it.
        why_not: why it is not kept, as the end of a sentence; None without a cache.
    """

    key: str | None = None
    is_old: bool = False
    why_not: str | None = None


NOT_KEPT = Kept()
# What is kept, and under which name a variant knows of it.
BUILD, EVALUATION = "kept build", "kept evaluation"
KEPT = {"build": BUILD, "evaluation": EVALUATION}
