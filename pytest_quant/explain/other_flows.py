"""Other flows: the recipes by other flows than one's own that may still make the variant."""

from collections.abc import Iterator
from dataclasses import replace

from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.variant import Variant

FLOWS = ("fx", "parts", "pt2e")


def other_flows(variant: Variant, recipe: Recipe) -> Iterator[Recipe]:
    """Those that are known to refuse the model are left out; on an engine of their own."""
    if not variant.facts_of(recipe).is_observed:
        return
    for flow in FLOWS:
        if flow != recipe.flow and not variant.has_failed(recipe.kind, flow):
            own = None if "pt2e" in (flow, recipe.flow) else recipe.engine
            yield replace(recipe, flow=flow, engine=own)


def compiled(variant: Variant, recipe: Recipe) -> Recipe | None:
    """The recipe by flow pt2e; None where that is known to fail, or where a kind knows no flows."""
    is_known = variant.facts_of(recipe).is_observed or variant.facts_of(recipe).is_dynamic
    if not is_known or variant.has_failed(recipe.kind, "pt2e"):
        return None
    return replace(recipe, flow="pt2e", engine=None)
