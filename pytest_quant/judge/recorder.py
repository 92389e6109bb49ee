"""Recorder: which test is running, what limits it was told, what it has looked at and been told.

The stack below is the only mutable global of the package. A stack, because a test of a plugin runs
pytest inside pytest. Without pytest it is empty, and the helpers go by their arguments alone.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_quant.baseline.baseline import FOLDER
from pytest_quant.baseline.row import Row

if TYPE_CHECKING:
    from pytest_quant.judge.asking import Asking
    from pytest_quant.judge.gate import Gate
    from pytest_quant.judge.verdict import Verdict
    from pytest_quant.variant.key import RowKey
    from pytest_quant.variant.variant import Variant


@dataclass(slots=True, eq=False)
class Running:
    """The test that is running.

    Args:
        nodeid: pytest's name of it.
        limits: what marker, command line and ini say, the first of these that says something.
        gates: the repo's own, by name.
        timing_seconds: what one speed gate may take.
        early_stop: whether accuracy may be decided on a part of the eval set.
        inconclusive: what an INCONCLUSIVE verdict does: ``auto``, ``fail`` or ``report``.
        baselines: the folder of the saved baselines.
        saving: the name of the baseline that this run is saved as; None for none.
        variants: those it has looked up, in order.
        verdicts: those it was given, in order.
        askings: how it asks for them, by row.
        failed: rows of the variants that could not be made.
        properties: what its verdicts have added to its item's properties.
        name: gives a variant of a store of the test's own what tells it from namesakes.
        looked_into: what was found out on its variants for its causes, as variant and part.
        tried_again: whether this try has announced that another one follows.
    """

    nodeid: str
    limits: Mapping[str, float] = field(default_factory=dict)
    gates: Mapping[str, "Gate"] = field(default_factory=dict, kw_only=True)
    timing_seconds: float = 30.0
    early_stop: bool = False
    inconclusive: str = "auto"
    baselines: Path = FOLDER
    saving: str | None = None
    variants: list["Variant"] = field(default_factory=list)
    askings: dict["RowKey", "Asking"] = field(default_factory=dict)
    verdicts: list["Verdict"] = field(default_factory=list)
    failed: list[Row] = field(default_factory=list)
    properties: list[tuple[str, str]] = field(default_factory=list)
    looked_into: list[tuple["Variant", str]] = field(default_factory=list)
    tried_again: bool = False
    name: Callable[["Variant"], None] = field(default=lambda variant: None, kw_only=True)


_stack: list[Running] = []


def current() -> Running:
    """The test that is running; a blank one outside pytest."""
    return _stack[-1] if _stack else Running("")


def looked_at(variant: "Variant") -> bool:
    """Note that the running test looks at a variant, and so at its FP32; whether it is the first time."""
    current().name(variant)
    known = current().variants
    variant.admitted.door.held_by(current().nodeid)
    new = [each for each in (variant.fp32, variant) if each not in known]
    known += dict.fromkeys(new)
    return variant in new


def note(verdict: "Verdict", variant: "Variant") -> None:
    """Note a verdict as soon as there is one: of the running test, and on its variant."""
    current().verdicts.append(verdict)
    variant.verdicts.append(verdict.to_dict())


@contextmanager
def running(test: Running) -> Iterator[Running]:
    """While this test runs."""
    _stack.append(test)
    try:
        yield test
    finally:
        _stack.remove(test)
