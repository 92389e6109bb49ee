"""Once: a sentence of ours stands in full where pytest tells of the first failed test, then by name."""

import copy
import shutil
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from pytest_quant.errors import QuantStageError, is_sentence, terminal_safe
from pytest_quant.judge.recorder import Running
from pytest_quant.judge.verdict import Outcome
from pytest_quant.plugin.outcomes import NOTE, is_lost, uncollected
from pytest_quant.report.told import Told
from pytest_quant.report.width import fitted_text, terminal_columns

CAUSE = "cause and remedy"  # a section of a report
TOLD = ("error", "failed")  # in the order in which pytest tells of them
NARROWEST = 40  # columns; of less than that pytest makes 80


def named_in(test: Running, error: BaseException | None) -> list[tuple[str, str]]:
    """The sentences that a test has failed with, or may have, each with its name; plain data."""
    found = [
        (verdict.sentence, terminal_safe(f"{verdict.quantity} {verdict.outcome}"))
        for verdict in test.verdicts
        if verdict.outcome is not Outcome.PASS
    ]
    if error is None:
        return found
    if isinstance(error, QuantStageError):
        found.append((str(error), f"{error.stage} ERROR"))
    elif is_sentence(error) and not any(sentence in str(error) for sentence, _ in found):
        found.append((str(error), type(error).__name__))
    notes = getattr(error, "__notes__", ())
    return found + [(note, NOTE) for note in notes if note.startswith(NOTE)]


class Once:
    """Follows what pytest prints of failed tests, on the controller.

    Attributes:
        told: the sentences that pytest has printed in full.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.told = Told()

    @pytest.hookimpl(wrapper=True, tryfirst=True)  # before pytest tells of failures
    def pytest_terminal_summary(self, terminalreporter: Any) -> Generator[None, Any, Any]:
        options = self.config.option
        if options.tbstyle != "no" and not getattr(options, "no_summary", False):
            for kind in TOLD:
                reports = terminalreporter.stats.get(kind, [])
                reports[:] = [self._first(report) for report in reports]
        return (yield)

    def _first(self, report: Any) -> Any:
        """The report, in which sentences that an earlier one has told stand by name."""
        text, again = str(report.longrepr), dict[str, str]()
        sections = [(n, self._section(n, told, report.nodeid)) for n, told in report.sections]
        for sentence, name in _named(report):
            first = self.told.once(sentence, "", report.nodeid) == ""
            if first and sentence in text:
                again[sentence] = name
        reason = getattr(report, "quant_reason", None)
        if reason is None and isinstance(report, pytest.CollectReport):
            reason = uncollected(report)["reason"]
        if reason is not None and not is_lost(reason):
            self.told.add(reason, report.nodeid)
        if not again and sections == report.sections:
            return report
        for sentence, name in again.items():
            text = text.replace(sentence, f"{name}, as reported for {self.told.by(sentence)}")
        crash = getattr(report.longrepr, "reprcrash", None)
        other = _with(report, Named(text, crash) if again else report.longrepr)
        other.sections = sections
        return other

    def _section(self, name: str, text: str, nodeid: str) -> str:
        """The text of a section; of a cause that was told before only where."""
        if name == CAUSE and self.told.once(text, "", nodeid) != text:
            return f"as reported for {self.told.by(text)}"
        return fitted_text(text, terminal_columns()) if name == CAUSE else text


def shorten(terminalreporter: Any) -> None:
    """Let the lines of pytest's short summary name what was told, where they would cut it."""
    for kind in TOLD:
        reports = terminalreporter.stats.get(kind, [])
        reports[:] = [_short(report) for report in reports]


class Named:
    """What pytest shows of a failure, as text, and its message for the short summary.

    Args:
        text: to be shown.
        reprcrash: has the ``message``; None for none.
    """

    def __init__(self, text: str, reprcrash: Any) -> None:
        self.text = text
        if reprcrash is not None:
            self.reprcrash = reprcrash

    def __str__(self) -> str:
        return self.text

    def toterminal(self, writer: Any) -> None:
        """As pytest asks for it."""
        for line in self.text.splitlines():
            writer.line(line)


class _Message:
    """Where a failure was, and what it says, in the words that pytest has for it."""

    def __init__(self, message: str) -> None:
        self.message = message


def _short(report: Any) -> Any:
    crash = getattr(report.longrepr, "reprcrash", None)
    message = str(report.longrepr) if crash is None else crash.message
    names = [name for sentence, name in _named(report) if _flat(sentence) in _flat(message)]
    if not names:
        return report
    said = ", ".join(dict.fromkeys(names))
    width = shutil.get_terminal_size().columns
    room = (width if width >= NARROWEST else 80) - len(f"FAILED {report.nodeid} - ")
    return _with(report, Named(str(report.longrepr), _Message(said) if len(said) <= room else None))


def _named(report: Any) -> Iterator[tuple[str, str]]:
    yield from getattr(report, "quant_named", ())


def _with(report: Any, longrepr: Any) -> Any:
    """A copy, since other plugins and files are to have the report as it was."""
    other = copy.copy(report)
    other.longrepr = longrepr
    return other


def _flat(text: str) -> str:
    return " ".join(text.split())
