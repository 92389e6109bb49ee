"""Origins: which fixtures a test's inputs came from, and when an input's last test is over."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest


@dataclass(slots=True, eq=False)
class Origin:
    """Where an input, such as a value of `quant_model`, came from.

    Args:
        value: what the fixture returned.
        fixture: its definition.
        where: node id of the folder, file or class whose tests see it.
        param: id of its parameter, as in test names.
    """

    value: Any
    fixture: pytest.FixtureDef[Any]
    where: str
    param: str | None

    def is_seen_by(self, nodeids: Iterable[str]) -> bool:
        """Whether one of these tests could still use it."""
        return any(nodeid.startswith(self.where) for nodeid in nodeids)


class Origins:
    """All inputs that are alive, by the fixtures that gave them."""

    def __init__(self) -> None:
        self._known: list[Origin] = []

    def add(
        self, fixture: pytest.FixtureDef[Any], request: pytest.FixtureRequest, value: Any
    ) -> None:
        """Note an input that a fixture has just given."""
        where = str(fixture.baseid)
        self._known.append(Origin(value, fixture, where, _param_id(fixture, request)))

    def of(self, value: Any, nodeid: str) -> Origin | None:
        """Where a test's input came from: of several places the closest to the test."""
        fitting = [o for o in self._known if o.value is value and nodeid.startswith(o.where)]
        return max(fitting, key=lambda origin: len(origin.where), default=None)

    def where(self, values: Iterable[Any], nodeid: str) -> str:
        """The folder, file or class that all these inputs of a test belong to: the closest one."""
        origins = (self.of(value, nodeid) for value in values if value is not None)
        return max((origin.where for origin in origins if origin), key=len, default="")

    def drop(self, is_over: Callable[[Origin], bool]) -> list[Any]:
        """Forget origins, and return the inputs that none is left of."""
        over = [origin for origin in self._known if is_over(origin)]
        self._known = [origin for origin in self._known if origin not in over]
        alive = {id(origin.value) for origin in self._known}
        return [origin.value for origin in over if id(origin.value) not in alive]

    def is_function_scoped(self, where: str) -> bool:
        """Whether a place's `quant_model` is made anew for every test."""
        models = (o for o in self._known if o.fixture.argname == "quant_model")
        return any(o.where == where and o.fixture.scope == "function" for o in models)


def _param_id(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> str | None:
    """The id that a parametrized fixture shows in test names."""
    if not hasattr(request, "param"):
        return None
    index = getattr(request, "param_index", 0)
    ids = getattr(fixturedef, "ids", None)
    if isinstance(ids, list | tuple) and index < len(ids) and ids[index] is not None:
        return str(ids[index])
    if isinstance(request.param, str | int | float | bool):
        return str(request.param)
    return getattr(request.param, "__name__", None) or f"quant_model{index}"
