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
    files = artefacts(config)
    recipes = dict(files)
    for given in answers_of(hook, "pytest_quant_recipes", config):
        if not isinstance(given, dict) or not all(isinstance(r, Recipe) for r in given.values()):
            raise pytest.UsageError(
                f"pytest_quant_recipes returned {given!r}; expected a dict name -> Recipe"
            )
        if both := given.keys() & files.keys():
            raise pytest.UsageError(
                f"--quant-artefact: {', '.join(sorted(both))} is a recipe of pytest_quant_recipes too; "
                "choose another name"
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


def artefacts(config: pytest.Config) -> dict[str, Recipe]:
    """The files of ``--quant-artefact``, by name.

    Raises:
        pytest.UsageError: for what is no NAME=PATH, a name that is taken, or a path that no recipe takes.
    """
    found: dict[str, Recipe] = {}
    for given in config.getoption("quant_artefact") or ():
        name, _, path = (part.strip() for part in given.partition("="))
        if not name or not path:
            raise pytest.UsageError(
                f"--quant-artefact is {given!r}; NAME=PATH is expected, as in int8=build/model.onnx"
            )
        if name in found or name in ("fp32", *FIXTURE_KINDS):
            raise pytest.UsageError(f"--quant-artefact: the name {name} is taken; choose another")
        try:
            found[name] = Recipe("artefact", path=path)
        except (TypeError, ValueError) as error:
            raise pytest.UsageError(f"--quant-artefact={given}: {error}") from None
    return found
