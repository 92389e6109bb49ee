"""Recipes: a repo's own, as the hook `pytest_quant_recipes` gives them by name."""

from typing import Any

import pytest

from pytest_quant.plugin.answers import answers_of
from pytest_quant.variant.recipe import FIXTURE_KINDS, Recipe


def own_recipes(hook: Any, config: pytest.Config) -> dict[str, Recipe]:
    """The recipes by name; of one name the nearest conftest's.

    One named ``static`` says what the repo's `quant_static` is.

    Args:
        hook: of the whole run, or of a test, which sees the conftests of its folders.
        config: of the run.

    Raises:
        pytest.UsageError: for a hook that raises, for something else than a dict name -> Recipe, for the
            name ``fp32``, and for a recipe of another kind than the name says.
    """
    recipes: dict[str, Recipe] = {}
    for given in answers_of(hook, "pytest_quant_recipes", config):
        if not isinstance(given, dict) or not all(isinstance(r, Recipe) for r in given.values()):
            raise pytest.UsageError(
                f"pytest_quant_recipes returned {given!r}; expected a dict name -> Recipe"
            )
        for name, recipe in given.items():
            recipes.setdefault(name, recipe)
    if "fp32" in recipes:
        raise pytest.UsageError(
            "pytest_quant_recipes names a recipe fp32, which is the baseline's name; choose another"
        )
    for kind in FIXTURE_KINDS:
        if kind in recipes and recipes[kind].kind != kind:
            raise pytest.UsageError(
                f"pytest_quant_recipes names a recipe of kind {recipes[kind].kind!r} {kind}; one of that "
                f"name says what quant_{kind} is, and must be of kind {kind!r}"
            )
    return recipes
