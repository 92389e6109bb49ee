"""Items: which variants a collected test asks for, and what limits its markers state."""

from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from typing import Any

import pytest

from pytest_quant.errors import terminal_safe
from pytest_quant.judge.gate import Gate, own_gates
from pytest_quant.judge.limits import checked
from pytest_quant.plugin.answers import answers_of

VARIANT_FIXTURES = {
    "quant_fp32": "fp32",
    "quant_dynamic": "dynamic",
    "quant_static": "static",
    "quant_qat": "qat",
}


def is_ours(fixture: str, fixtures: Collection[str]) -> bool:
    """Whether a test that has these fixtures has our fixture of a name, or one that asks for ours; a
    repo may have one of the same name that has nothing to do with this plugin."""
    return f"_{fixture}_inputs" in fixtures


def variants_of(item: pytest.Item) -> set[str]:
    """Names of the variants whose fixtures a test asks for."""
    fixtures = set(getattr(item, "fixturenames", ()))
    wanted = {name for fixture, name in VARIANT_FIXTURES.items() if is_ours(fixture, fixtures)}
    if is_ours("quant_variant", fixtures):
        param = getattr(item, "callspec", None) and item.callspec.params.get("quant_variant")  # type: ignore[attr-defined]
        wanted.add(name_of(param))
    return wanted


def may_use_variants(item: pytest.Item) -> bool:
    """Whether a test asks for a variant, or may do so by ``request.getfixturevalue``."""
    return bool(variants_of(item)) or "request" in getattr(item, "fixturenames", ())


def name_of(param: Any) -> str:
    """The variant's name in a parameter of `quant_variant`: a kind, a Recipe, or (name, Recipe)."""
    if isinstance(param, tuple):
        return str(param[0])
    return str(getattr(param, "label", param))


def gates_of(item: pytest.Item) -> dict[str, Gate]:
    """The repo's own gates that a test sees, those of the nearest conftest first.

    Raises:
        pytest.UsageError: for a hook that raises, or returns something else.
    """
    try:
        return own_gates(answers_of(item.ihook, "pytest_quant_gates", item.config))
    except (TypeError, ValueError) as error:
        raise pytest.UsageError(terminal_safe(str(error))) from None


def limits_of(item: pytest.Item) -> dict[str, float]:
    """The limits of a test's ``quant`` markers, the closest first.

    Raises:
        pytest.UsageError: for an unknown or wrong limit; names the test.
    """
    limits: dict[str, float] = {}
    markers = list(item.iter_markers("quant"))
    own = gates_of(item) if markers else {}
    for marker in markers:
        try:
            if marker.args:
                raise TypeError(f"{marker.args[0]!r} has no name; limits are given by name")
            for name, value in marker.kwargs.items():
                limits.setdefault(name, checked(name, value, own))
        except (TypeError, ValueError) as error:
            said = terminal_safe(f"{item.nodeid}: @pytest.mark.quant: {error}")
            raise pytest.UsageError(said) from None
    return limits


class StatedLimits(Mapping[str, float]):
    """A test's limits: its markers', else those of command line and ini. Markers are read when a gate
    asks, since a repo may use a marker of the same name on tests that have nothing to do with us."""

    def __init__(self, item: pytest.Item, of_run: Mapping[str, float]) -> None:
        self._item, self._of_run = item, of_run

    @cached_property
    def _all(self) -> dict[str, float]:
        return {**self._of_run, **limits_of(self._item)}

    def __getitem__(self, name: str) -> float:
        return self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)
