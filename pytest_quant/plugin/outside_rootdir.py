"""Outside rootdir: there pytest shows a test the fixtures of every conftest.py that it reads; a test of a
variant is to see those above it, the nearest first, as inside rootdir."""

from collections.abc import Sequence
from typing import Any

import pytest

from pytest_quant.plugin.items import variants_of
from pytest_quant.plugin.origins import place_of


class OutsideRootdir:
    """A plugin object of a run.

    pytest has no public way to say which definition of a fixture a test is given. Where the private one
    that is used here is gone, tests that are given what belongs to another folder are refused instead
    (see `Lookup`).
    """

    @pytest.hookimpl(tryfirst=True)  # before pytest parametrizes tests by what their fixtures say
    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        test, root = metafunc.definition, metafunc.config.rootpath.resolve()
        known: Any = getattr(metafunc, "_arg2fixturedefs", None)
        if test.path.resolve().is_relative_to(root) or not isinstance(known, dict):
            return
        if variants_of(test):
            for name, definitions in known.items():
                known[name] = _seen(definitions, test)


def _seen(
    definitions: Sequence[pytest.FixtureDef[Any]], test: pytest.Item
) -> Sequence[pytest.FixtureDef[Any]]:
    """Those from above a test, the nearest last; all where there is no choice."""
    if len(definitions) < 2:
        return definitions
    placed = [(place_of(each, test.config), each) for each in definitions]
    seen = [(place.depth, each) for place, each in placed if place.sees(test)]
    return [each for _, each in sorted(seen, key=lambda pair: pair[0])] or definitions
