"""Layer observers: what sees a layer where ranges are calibrated, made anew for each place."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_quant.variant.recipe import Recipe


@dataclass(frozen=True, slots=True, eq=False)
class LayerObservers:
    """Observers as a flow puts them in, for a simulation in float.

    Args:
        activation, weight: of a layer; the activation's also of None, where no layer made it.
    """

    activation: Callable[[Any], Any]
    weight: Callable[[Any], Any]


def calibrated(recipe: Recipe) -> Recipe:
    """What a static recipe has in common with this one, which may be of QAT."""
    kept = ("flow", "observer", "qscheme", "per_channel")
    return Recipe("static", **{name: getattr(recipe, name) for name in kept})
