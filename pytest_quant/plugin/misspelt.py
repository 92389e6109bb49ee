"""Misspelt: fixtures of a repo that nobody asks for, and whose names are nearly those of inputs."""

import inspect
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

import pytest

from pytest_quant.subject.inputs import INPUTS

NEAR = 0.7  # of the letters
FIXTURE = type(pytest.fixture(lambda: None))


def misspelt(session: pytest.Session) -> Iterator[str]:
    """A question for each of them: an input that is not overridden is left at its default, so that a misspelt
    metric judges by another one.

    Fixtures are looked for in conftest files and modules of tests.
    """
    fields = {each.field: each.fixture for each in INPUTS}
    asked = {*fields.values()}.union(*(getattr(item, "fixturenames", ()) for item in session.items))
    modules = {
        *session.config.pluginmanager.get_plugins(),
        *(item.module for item in session.items if isinstance(item, pytest.Function)),
    }
    for module in modules:
        place = getattr(module, "__file__", None)
        if not inspect.ismodule(module) or place is None or not _is_repos(place, session):
            continue
        for name, value in vars(module).items():
            if not isinstance(value, FIXTURE) or not name.startswith("quant") or name in asked:
                continue
            own = name.removeprefix("quant").lstrip("_")
            near = next(iter(get_close_matches(own, fields, n=1, cutoff=NEAR)), None)
            if near is not None and fields[near] not in vars(module):
                yield (
                    f"{Path(place).name} has {name}, which nobody asks for: is it meant to be "
                    f"{fields[near]}?"
                )


def _is_repos(place: str, session: pytest.Session) -> bool:
    return Path(place).is_relative_to(session.config.rootpath) or place.endswith("conftest.py")
