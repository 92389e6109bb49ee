"""As Python: a recipe as the Python that a user would write."""

from dataclasses import fields
from typing import Any

from pytest_quant.machine.engines import engine_for
from pytest_quant.quantize.methods.registry import facts_of
from pytest_quant.variant.recipe import DTYPES, Recipe

OBVIOUS_FLOWS = ("auto", "fx", "eager")  # which `auto` takes by itself


def as_python(recipe: Recipe) -> str:
    """``Recipe("static", keep_fp32=["fc"])``: whatever differs from the defaults.

    Args:
        recipe: with the flow and engine that were taken; left out where they would be taken again.
    """
    return f"Recipe({', '.join(arguments_of(recipe))})"


def arguments_of(recipe: Recipe) -> list[str]:
    """The arguments of `as_python`, one by one."""
    said = [repr(recipe.kind).replace("'", '"')]
    for field in fields(Recipe):
        value = getattr(recipe, field.name)
        if field.name == "kind" or value == field.default or _is_obvious(recipe, field.name):
            continue
        said.append(f"{field.name}={_shown(value)}")
    return said


def _is_obvious(recipe: Recipe, name: str) -> bool:
    if name == "flow":
        return recipe.flow in OBVIOUS_FLOWS
    if name == "engine":
        return facts_of(recipe).engine is not None or recipe.engine == engine_for(None)
    return name == "dtype" and recipe.dtype == DTYPES[recipe.kind][0]


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_shown(item) for item in value)}]"
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    return f'"{value}"' if isinstance(value, str) else repr(value)
