"""Misspelt: fixtures of a repo that nobody asks for, and whose names are nearly those of inputs."""

import inspect
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

import pytest

from pytest_quant.subject.inputs import INPUTS

NEAR = 0.7  # of the letters
PREFIX = "quant_"
FIXTURE = type(pytest.fixture(lambda: None))


def misspelt(session: pytest.Session) -> Iterator[tuple[str, str]]:
    """For each of them the input that may be meant, and a question.

    An input that is not overridden stays at its default, so that a misspelt metric judges by another one.
    Fixtures are looked for in conftest files and modules of tests.
    """
    options = session.config.option
    if options.keyword or options.markexpr:  # what was left out may ask for it
        return
    fields = {each.field: each.fixture for each in INPUTS}
    asked = {*fields.values()}.union(*(getattr(item, "fixturenames", ()) for item in session.items))
    of_tests = [item.module for item in session.items if isinstance(item, pytest.Function)]
    modules = dict.fromkeys([*session.config.pluginmanager.get_plugins(), *of_tests])
    found = {
        value.name: Path(module.__file__ or "").name
        for module in sorted(filter(inspect.ismodule, modules), key=lambda each: each.__name__)
        if _is_repos(module, session)
        for name, value in vars(module).items()
        if name.startswith(PREFIX) and isinstance(value, FIXTURE)
    }
    for name, file in found.items():
        near = get_close_matches(name.removeprefix(PREFIX), fields, n=1, cutoff=NEAR)
        if near and name not in asked and fields[near[0]] not in found:
            meant = fields[near[0]]
            yield meant, f"{file} has {name}, which nothing uses: is it meant to be {meant}?"


def _is_repos(module: ModuleType, session: pytest.Session) -> bool:
    place = getattr(module, "__file__", None) or ""
    return place.endswith("conftest.py") or Path(place).is_relative_to(session.config.rootpath)
