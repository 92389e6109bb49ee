"""Tracebacks: what a failure shows of the way it took: the user's lines, and ours of a fault of ours."""

import os
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

import pytest

from pytest_quant.errors import PACKAGE, is_sentence

# Whose lines tell a user nothing of an error that is told in a sentence.
OURS = "pytest_quant"
PYTEST = ("pytest", "_pytest", "pluggy")
BELOW = (OURS, *PYTEST, "torch", "torchao", "numpy", "pandas")
STDLIB = sysconfig.get_path("stdlib") + os.sep
INSTALLED = ("site-packages", "dist-packages")  # folders below it that are none of it


def without_our_lines(
    report: Any,
    node: pytest.Item | pytest.Collector,
    raised: pytest.ExceptionInfo[BaseException] | None,
) -> None:
    """Tell a report's error anew without lines of this package; with ``--full-trace`` all stay.

    An error raised on purpose is its sentence and the user's own lines, its causes' too. Of any other
    error only what pytest was asked for through us is left out: the way to the user's own fixture.

    Args:
        report: of pytest, as it would be shown.
        node: the test or file whose report it is.
        raised: what it reports.
    """
    if raised is None or report.longrepr is None or isinstance(report.longrepr, str | tuple):
        return
    if node.config.getoption("fulltrace", False) or not _is_of_ours(raised.value):
        return
    if not is_sentence(raised.value):
        traceback = _rebuilt(_not_passed_through(raised.tb))
        if traceback is not None:
            report.longrepr = node.repr_failure(_with(raised, traceback))
        return
    with _only_theirs(raised.value) as has_lines:
        if has_lines:
            report.longrepr = told = node.repr_failure(_with(raised, raised.value.__traceback__))
            if raised.value.__traceback__ is None and hasattr(told, "reprtraceback"):
                told.reprtraceback.extraline = None  # that lines are hidden
    if not has_lines:
        report.longrepr = _sentence(node, raised)


def last_of_theirs(error: BaseException) -> TracebackType | None:
    """Where an error left the user's own code."""
    entries = [each for each in _entries(error.__traceback__) if _is_theirs(each)]
    return entries[-1] if entries else None


def _sentence(
    node: pytest.Item | pytest.Collector, raised: pytest.ExceptionInfo[BaseException]
) -> Any:
    """The error's text alone, said to be where the test is."""
    told: Any = raised.getrepr(style="value", chain=False)
    for entry in told.reprtraceback.reprentries:  # one, which looks like the end of any other error
        entry.lines, entry.style = [f"E   {line}" for line in entry.lines], "short"
    if told.reprcrash is not None:
        path, line, _ = node.reportinfo() if isinstance(node, pytest.Item) else (node.path, 0, "")
        told.reprcrash.path, told.reprcrash.lineno = str(path), (line or 0) + 1
        told.reprcrash.message = str(raised.value)
    return told


def _with(
    raised: pytest.ExceptionInfo[BaseException], traceback: TracebackType | None
) -> pytest.ExceptionInfo[BaseException]:
    """The same error with another traceback; None for one without entries."""
    told = pytest.ExceptionInfo.from_exc_info((raised.type, raised.value, traceback or raised.tb))
    if traceback is None:
        told.traceback = told.traceback.filter(lambda entry: False)
    return told


@contextmanager
def _only_theirs(error: BaseException) -> Iterator[bool]:
    """While an error is told, it and its causes have the user's lines alone; whether there are any."""
    known = [(e, e.__traceback__, e.__cause__, e.__suppress_context__) for e in _chain(error)]
    try:
        for each, traceback, _, _ in known:
            each.__traceback__ = _rebuilt([e for e in _entries(traceback) if _is_theirs(e)])
        told = [error, *(each for each, *_ in known[1:] if each.__traceback__)]
        for each, cause in zip(told, [*told[1:], None], strict=True):
            each.__cause__ = cause  # which suppresses the context
        yield any(each.__traceback__ for each in told)
    finally:
        for each, traceback, cause, is_suppressed in known:
            each.__traceback__, each.__cause__ = traceback, cause
            each.__suppress_context__ = is_suppressed


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and its causes, as Python would tell them."""
    known: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in known:
        known.add(id(each))
        yield each
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)


def _not_passed_through(traceback: TracebackType | None) -> list[TracebackType]:
    """Without our lines between which pytest went on: wrappers of its hooks, and what it set up for us."""
    entries = list(_entries(traceback))
    last = max((n for n, each in enumerate(entries) if _is_of(each, PYTEST)), default=-1)
    return [each for n, each in enumerate(entries) if n > last or not _is_of(each, (OURS,))]


def _rebuilt(entries: list[TracebackType]) -> TracebackType | None:
    found: TracebackType | None = None
    for each in reversed(entries):
        found = TracebackType(found, each.tb_frame, each.tb_lasti, each.tb_lineno)
    return found


def _entries(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _is_of_ours(error: BaseException) -> bool:
    return any(_is_of(each, (OURS,)) for each in _entries(error.__traceback__))


def _is_of(entry: TracebackType, packages: tuple[str, ...]) -> bool:
    return _package(entry.tb_frame) in packages


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _is_theirs(entry: TracebackType) -> bool:
    frame, path = entry.tb_frame, entry.tb_frame.f_code.co_filename
    if path.startswith(("<", PACKAGE + os.sep)) or _package(frame) in BELOW:
        return False
    return not path.startswith(STDLIB) or any(name in path for name in INSTALLED)
