"""Keeper: saves a run as a baseline and shows what changed since one; there only when asked for."""

from collections.abc import Generator, Iterator
from typing import Any

import pytest

from pytest_quant.baseline.baseline import (
    Baseline,
    BaselineError,
    LaterBaselineError,
    path_of,
    read,
)
from pytest_quant.baseline.change_words import is_change, named, summary_of
from pytest_quant.baseline.changes import since
from pytest_quant.errors import listed
from pytest_quant.judge import recorder
from pytest_quant.machine.atomic_write import write_atomically
from pytest_quant.plugin.outcomes import is_tried_again
from pytest_quant.plugin.selection import is_of_variants, places, single_tests
from pytest_quant.plugin.settings import Settings
from pytest_quant.plugin.terminal_line import line_writer
from pytest_quant.report.baselines import Gathered, scores_of
from pytest_quant.report.document import Report

FORCE = "--quant-force saves it anyway"


class Keeper:
    """The plugin object of `--quant-save` and `--quant-compare`.

    Args:
        config: of the run.
        settings: the names; whether a partial run may be saved.
        report: of the run, which gets the changes.

    Raises:
        pytest.UsageError: when the command line selects single tests to be saved.
    """

    def __init__(self, config: pytest.Config, settings: Settings, report: Report) -> None:
        self.config = config
        self.settings = settings
        self.report = report
        self.gathered = Gathered()
        self.left_out: dict[str, None] = {}  # tests of variants that were deselected
        self.lines: list[str] = []
        self.is_worker = hasattr(config, "workerinput")
        self.must_be_whole = (
            settings.save is not None
            and not settings.force
            and not self.is_worker  # whose controller asks for all workers
            and not config.getoption("collectonly")
        )
        if self.must_be_whole and (tests := single_tests(config)):
            raise pytest.UsageError(
                f"--quant-save needs a whole run, not single tests ({', '.join(tests[:3])}); {FORCE}"
            )

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self.left_out |= dict.fromkeys(item.nodeid for item in items if is_of_variants(item))

    def pytest_collection_finish(self) -> None:
        if self.must_be_whole and self.left_out:
            raise pytest.UsageError(
                f"--quant-save needs a whole run, but {self._left_out()}; {FORCE}"
            )

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self) -> Generator[None, Any, Any]:
        report = yield
        if payload := getattr(report, "quant", None):
            payload |= scores_of(recorder.current().variants) | {"left_out": list(self.left_out)}
        return report

    def pytest_runtest_logreport(self, report: Any) -> None:
        if self.is_worker or is_tried_again(report):
            return
        if payload := getattr(report, "quant", None):
            self.gathered.add(payload)
            self.left_out |= dict.fromkeys(payload.get("left_out", ()))

    @pytest.hookimpl(tryfirst=True)  # before the report goes to pytest_quant_report
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if self.is_worker or self.config.getoption("collectonly"):
            return
        if self.settings.compare is not None and self.report.rows:
            now = self.gathered.baseline("this run", self.report)
            self.report.since = since(self.settings.compare, now)
        if self.settings.save is None or exitstatus == pytest.ExitCode.USAGE_ERROR:
            return
        if not self._save(self.settings.save, exitstatus) and exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED  # what was asked for was not done

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        write_line = line_writer(terminalreporter)
        for line in self.lines:
            write_line(line)

    def _save(self, name: str, exitstatus: int) -> bool:
        """Save the run, or say why not."""
        made = self.gathered.baseline(name, self.report)
        path = path_of(name, self.settings.baselines)
        old: Baseline | BaselineError | None = None
        if path.exists():
            try:
                old = read(path)
            except BaselineError as error:
                old = error
        if not made.rows:
            self.lines.append(f"baseline {name} was not saved: nothing was measured")
            return False
        objections = list(self._objections(made, old, exitstatus))
        if objections and not self.settings.force:
            self.lines.append(f"baseline {name} was not saved: {'; '.join(objections)}. {FORCE}")
            return False
        try:
            write_atomically(path, made.to_json())
        except OSError as error:
            self.lines.append(f"baseline {name} was not saved: {error}")
            return False
        stored = {row.key for row in made.rows}
        empty = [named(row) for row in self.report.rows if row.key not in stored]
        held = f"{len(made.rows)} variants" + (f", not {', '.join(empty)}" if empty else "")
        self.lines.append(f"baseline {name} saved: {path} ({held})")
        self.lines += _replaced(old, made)
        return True

    def _objections(
        self, made: Baseline, old: Baseline | BaselineError | None, exitstatus: int
    ) -> Iterator[str]:
        """Why this run is not to be what later runs are measured by."""
        if self.report.interrupted or exitstatus == pytest.ExitCode.INTERRUPTED:
            yield "the run was stopped before its end"
        elif exitstatus != pytest.ExitCode.OK:
            yield "the run is red"
        undecided = [v for v in self.report.verdicts if v["outcome"] == "INCONCLUSIVE"]
        if undecided:
            who = ", ".join(dict.fromkeys(f"{named(v)} {v['quantity']}" for v in undecided))
            yield f"INCONCLUSIVE: {who}"
        if self.left_out:
            yield self._left_out()
        if self.report.mixed:
            yield "; ".join(dict.fromkeys(mixed["text"] for mixed in self.report.mixed))
        if isinstance(old, LaterBaselineError):
            yield str(old)
        if isinstance(old, Baseline):
            stored = {row.key for row in made.rows}
            failed = {row.key for row in self.report.rows if row.error}
            lost = [
                named(row)
                for row in old.rows
                if (key := row.key) not in stored and (places(self.config) or key in failed)
            ]
            if lost:
                yield f"it lacks {', '.join(lost)} of the baseline that it would replace"

    def _left_out(self) -> str:
        tests = list(self.left_out)
        return f"{len(tests)} tests of variants were deselected ({listed(tests, 3)})"


def _replaced(old: Baseline | BaselineError | None, made: Baseline) -> Iterator[str]:
    if isinstance(old, BaselineError):
        yield f"it replaces a file that could not be read: {old}"
    elif old is not None:
        changed = since(old, made)
        lines = [f"  {named(c)}: {summary_of(c)}" for c in changed["changes"] if is_change(c)]
        lines += [f"  {remark}" for remark in changed["remarks"]]
        yield "changes since the baseline that it replaces:" if lines else "nothing changed"
        yield from lines
