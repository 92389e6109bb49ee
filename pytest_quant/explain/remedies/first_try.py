"""First try: the recipe that an explanation points to, before anything of it was measured."""

from dataclasses import replace

from pytest_quant.explain.lost.explanation import Explanation
from pytest_quant.explain.lost.sentences import (
    CLEAR,
    could_equalize,
    is_another_model,
    is_operation,
    is_unequal,
    worst_layers,
)
from pytest_quant.explain.other_flows import other_flows
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.variant import Variant

LONGER = 2  # times the passes over the training data


def first_try(variant: Variant, explanation: Explanation | None) -> Recipe | None:
    """What the first remedy of the explanation's sentences is as a recipe; without a layer that stands
    out, more training. None where nothing can be named."""
    recipe = variant.recipe
    if recipe is None or not variant.facts.chooses_layers:
        return None
    if explanation is not None and (is_another_model(explanation) or is_operation(explanation)):
        return next(other_flows(variant, recipe), None)
    if explanation is not None:
        weights, activations = explanation.sqnr["weights"], explanation.sqnr["activations"]
        more = 0.0 if weights is None or activations is None else activations - weights
        if more > CLEAR and not recipe.per_channel:
            return replace(recipe, per_channel=True)
        if more < CLEAR and is_unequal(explanation) and could_equalize(variant):
            return replace(recipe, equalize=True)
        if names := tuple(name for name in worst_layers(explanation) if name):
            return replace(recipe, keep_fp32=(*recipe.keep_fp32, *names))
    if variant.facts.trains and variant.subject.train is None:
        return replace(recipe, epochs=LONGER * recipe.epochs)
    return None
