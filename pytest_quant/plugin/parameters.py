"""Parameters: the ids by which a person tells a fixture's parameters apart, as in test names."""

import functools
from collections.abc import Sequence
from enum import Enum
from typing import Any

import pytest

PLAIN = (str, int, float, complex, bool, bytes, type(None))


def param_id(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest, item: pytest.Item | None
) -> str | None:
    """The id of the parameter that a fixture is set up with; None for one without parameters.

    It is that of ``pytest.param(..., id=...)`` or of ``ids=``, else one that the value tells, among
    all values of that fixture: a class or function goes by its name, with its module where two share
    a name. What no value tells goes by its position.

    Args:
        fixturedef: of the fixture.
        request: its own.
        item: the test, whose marks may parametrize the fixture.
    """
    if not hasattr(request, "param"):
        return None
    name, index = fixturedef.argname, int(getattr(request, "param_index", 0))
    values, ids = _of_marks(name, item) or (
        fixturedef.params or (),
        getattr(fixturedef, "ids", None),
    )
    if index >= len(values) or _value(values[index]) is not request.param:
        values, ids, index = (
            (request.param,),
            None,
            0,
        )  # parametrized in a way that is not seen here
    found = [_id(value, name, place, ids) for place, value in enumerate(values)]
    if found.count(found[index]) == 1:
        return found[index]
    qualified = [_qualified(value) or short for value, short in zip(values, found, strict=True)]
    if qualified.count(qualified[index]) == 1:
        return qualified[index]
    return f"{found[index]}{index}"


def is_parametrized(metafunc: pytest.Metafunc, name: str) -> bool:
    """Whether a test's mark gives a fixture its parameters, or a `pytest_generate_tests` has done so."""
    by_hook = any(name in call.params for call in getattr(metafunc, "_calls", ()))
    return by_hook or any(
        name in _names_of(mark) for mark in metafunc.definition.iter_markers("parametrize")
    )


def _names_of(mark: pytest.Mark) -> list[str]:
    names = mark.args[0] if mark.args else mark.kwargs.get("argnames", ())
    return [each.strip() for each in names.split(",")] if isinstance(names, str) else [*names]


def _of_marks(name: str, item: pytest.Item | None) -> tuple[Sequence[Any], Any] | None:
    """Values and ids that a mark of the test gives a fixture; of several names at once no ids, since
    these stand for the others too."""
    for mark in item.iter_markers("parametrize") if item else ():
        names = _names_of(mark)
        if name not in names:
            continue
        values = mark.args[1] if len(mark.args) > 1 else mark.kwargs.get("argvalues", ())
        if len(names) == 1:
            return list(values), mark.kwargs.get("ids")
        column = names.index(name)
        return [getattr(row, "values", row)[column] for row in values], None
    return None


def _value(given: Any) -> Any:
    """Of what ``pytest.param`` made, or of a parameter itself."""
    values = getattr(given, "values", None)
    return values[0] if hasattr(given, "marks") and isinstance(values, tuple) else given


def _id(given: Any, name: str, place: int, ids: Any) -> str:
    own = getattr(given, "id", None) if hasattr(given, "marks") else None
    value = _value(given)
    if own is None and callable(ids):
        own = ids(value)
    elif own is None and ids is not None and place < len(ids):
        own = list(ids)[place]
    if isinstance(own, PLAIN) and own is not None:
        return str(own)
    if isinstance(value, bytes):
        return value.decode("ascii", "backslashreplace")
    if isinstance(value, (*PLAIN, Enum)):
        return str(value)
    if isinstance(value, tuple) and value and isinstance(value[0], str):  # (name, Recipe)
        return value[0]
    return getattr(value, "__name__", None) or f"{name}{place}"


def _qualified(given: Any) -> str | None:
    """The name of a class or function with its module's; None for anything else."""
    value = _value(given)
    if isinstance(value, functools.partial):
        value = value.func
    name = getattr(value, "__qualname__", None)
    return f"{value.__module__}.{name}" if name else None
