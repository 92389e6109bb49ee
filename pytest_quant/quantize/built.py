"""Built: what a method has made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_quant.subject.shift.traits import Seen
from pytest_quant.variant.kept import NOT_KEPT, Kept
from pytest_quant.variant.recipe import Recipe


@dataclass(frozen=True, slots=True, eq=False)
class Built:
    """A quantized model and what is known of its making.

    Args:
        module: the model to run, under `recipe.engine`.
        recipe: as asked for, with the flow and engine that were taken.
        fake_quantized: QAT: the trained model before conversion, in eval mode.
        tuned_on: digests of the inputs that calibrated or trained it.
        seconds: of each stage.
        notes: which flow was taken where another one could not, and why.
        refused: the flows that could not.
        seen: the inputs that calibrated it, or the first that code of the user's gave it; None where our
            own loop trained it, and where nothing did.
        kept: whether it came from the cache, and under which key.
    """

    module: Any
    recipe: Recipe
    fake_quantized: Any = None
    tuned_on: frozenset[bytes] = frozenset()
    seconds: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    seen: Seen | None = None
    kept: Kept = NOT_KEPT
