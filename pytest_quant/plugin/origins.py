"""Origins: which fixtures a test's inputs came from, and when an input's last test is over."""

from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import unwrap
from pathlib import Path
from typing import Any

import pytest

from pytest_quant.plugin.parameters import param_id
from pytest_quant.subject.inputs import FIXTURES


@dataclass(frozen=True, slots=True)
class Place:
    """The folder, file or class whose tests see a fixture.

    Args:
        where: for a person, relative to the repo; empty for the whole repo.
        folder: in or below which its tests are; None where it is not a folder that decides.
        nodeid: of its file or class; empty for a folder.
    """

    where: str
    folder: Path | None = None
    nodeid: str = ""

    def sees(self, item: pytest.Item) -> bool:
        """Whether a test lies in it."""
        if self.nodeid:
            return _is_in(item.nodeid, self.nodeid)
        return self.folder is None or item.path.is_relative_to(self.folder)

    @property
    def depth(self) -> int:
        """The greater, the closer it is to its tests."""
        parts = 0 if self.folder is None else len(self.folder.parts)
        return parts + (1000 + len(self.nodeid) if self.nodeid else 0)


@dataclass(slots=True, eq=False)
class Origin:
    """A fixture that is set up.

    Args:
        value: that it gave.
        fixture: its definition.
        place: of the tests that see it.
        ids: of its parameter and of those that it depends on, in the order of dependence.
        identity: what tells its value from another one.
        label: the name that the user gives a model.
        is_repeated: whether its function-scoped fixture has given equal values so far.
    """

    value: Any
    fixture: pytest.FixtureDef[Any]
    place: Place
    ids: tuple[str, ...]
    identity: Hashable = field(default=None)
    label: str | None = None
    is_repeated: bool = True


class Origins:
    """All fixtures that are set up at the moment.

    Attributes:
        item: the test that is running.
    """

    def __init__(self) -> None:
        self.item: pytest.Item | None = None
        self._known: list[Origin] = []
        self._set_up: list[
            Origin
        ] = []  # all that pytest may still give, also what no test should use
        self._inside: list[
            list[Origin]
        ] = []  # of each fixture in progress, what it has set up itself

    @contextmanager
    def setting_up(self) -> Iterator[list[Origin]]:
        """In which a fixture is set up; gives those that it asks for itself meanwhile."""
        asked: list[Origin] = []
        self._inside.append(asked)
        try:
            yield asked
        finally:
            self._inside.pop()

    def parameter(
        self, fixture: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> str | None:
        """The id of the parameter that a fixture is set up with."""
        return param_id(fixture, request, self.item)

    def add(
        self,
        fixture: pytest.FixtureDef[Any],
        request: pytest.FixtureRequest,
        value: Any,
        asked: list[Origin],
    ) -> Origin:
        """Note what a fixture has just given."""
        below = [origin for name in fixture.argnames if (origin := self.named(name))]
        own = self.parameter(fixture, request)
        ids = [
            *(each for origin in (*below, *asked) for each in origin.ids),
            *([own] if own else []),
        ]
        place = place_of(fixture, request.config)
        origin = Origin(value, fixture, place, tuple(dict.fromkeys(ids)), id(value))
        self._known.append(origin)
        self._set_up.append(origin)
        if self._inside:
            self._inside[-1].append(origin)
        return origin

    def named(self, name: str) -> Origin | None:
        """The fixture of a name that the running test sees; of several the closest, then the last."""
        fitting = [o for o in self._known if o.fixture.argname == name and self._is_seen(o)]
        return max(reversed(fitting), key=lambda origin: origin.place.depth, default=None)

    def of(self, name: str, value: Any) -> Origin | None:
        """Where the running test's value of a fixture came from."""
        fitting = [
            o
            for o in self._known
            if o.fixture.argname == name and o.value is value and self._is_seen(o)
        ]
        return max(reversed(fitting), key=lambda origin: origin.place.depth, default=None)

    def astray(self, name: str, value: Any) -> Origin | None:
        """The origin of a value that pytest has given the running test from a place that does not see
        it; None where all is well."""
        found = [o for o in self._set_up if o.fixture.argname == name and o.value is value]
        return found[-1] if found and not any(map(self._is_seen, found)) else None

    def drop(self, is_over: Callable[[Origin], bool]) -> list[Origin]:
        """Forget origins, and return those of inputs that none is left of."""
        over = [origin for origin in self._known if is_over(origin)]
        self._known = [origin for origin in self._known if origin not in over]
        alive = {origin.identity for origin in self._known}
        return [
            origin
            for origin in over
            if origin.identity not in alive
            and origin.value is not None
            and origin.fixture.argname in FIXTURES
        ]

    def tear_down(self, fixture: pytest.FixtureDef[Any]) -> None:
        """Know that pytest gives no more what a fixture gave."""
        self._set_up = [origin for origin in self._set_up if origin.fixture is not fixture]

    def same(self, fixture: pytest.FixtureDef[Any]) -> list[Origin]:
        """What a fixture has given before and is still known."""
        return [origin for origin in self._known if origin.fixture is fixture]

    def _is_seen(self, origin: Origin) -> bool:
        return self.item is None or origin.place.sees(self.item)


def is_seen_by(origin: Origin, items: Iterable[pytest.Item]) -> bool:
    """Whether one of these tests could still use a fixture."""
    return any(origin.place.sees(item) for item in items)


def is_digest(identity: Any) -> bool:
    """Whether a value is identified by what it holds, not by the object that it is."""
    return isinstance(identity, tuple) and len(identity) == 2 and identity[0] == "digest"


def _is_in(nodeid: str, outer: str) -> bool:
    """Whether a test is in a file or class; names that begin alike are not."""
    rest = nodeid.removeprefix(outer)
    return nodeid.startswith(outer) and (not rest or rest.startswith(("::", "[", "/")))


def place_of(fixture: pytest.FixtureDef[Any], config: pytest.Config) -> Place:
    """Where a fixture is defined."""
    base = str(fixture.baseid)
    if "::" in base or base.endswith(".py"):
        return Place(base, nodeid=base)
    if base and base != ".":
        return Place(base, config.rootpath / base)
    code = getattr(unwrap(fixture.func), "__code__", None)
    file = Path(code.co_filename) if code else Path()
    if file.name != "conftest.py":
        return Place("")
    return _outside(file.parent.resolve(), config)


def _outside(folder: Path, config: pytest.Config) -> Place:
    """Of a conftest.py that pytest places at the root: the root's own, or one outside the root, as
    ``-c`` and ``--rootdir`` make it."""
    root, start = config.rootpath.resolve(), config.invocation_params.dir.resolve()
    if root.is_relative_to(folder) or start.is_relative_to(folder):
        return Place("", folder)
    for base in (root, start):
        if folder.is_relative_to(base):
            return Place(folder.relative_to(base).as_posix(), folder)
    return Place(folder.name, folder)
