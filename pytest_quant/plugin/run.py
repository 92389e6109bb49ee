"""Run: one pytest session with gates switched on; follows the tests and gathers the report."""

import os
from collections.abc import Generator
from datetime import UTC, datetime
from typing import Any

import pytest

from pytest_quant.baseline.row import Row
from pytest_quant.errors import QuantStageError, in_brief, terminal_safe
from pytest_quant.explain.causes import Effort, cause, topic_of
from pytest_quant.explain.lost.locate import explain
from pytest_quant.judge import recorder
from pytest_quant.judge.recorder import Running
from pytest_quant.judge.verdict import Outcome, Verdict
from pytest_quant.machine.commit import commit_of
from pytest_quant.machine.conditions import Conditions
from pytest_quant.measure.work import work_of
from pytest_quant.plugin.items import (
    StatedLimits,
    gates_of,
    limits_of,
    may_use_variants,
    variants_of,
)
from pytest_quant.plugin.junit import forget_properties, tell_properties
from pytest_quant.plugin.lookup import Lookup
from pytest_quant.plugin.once import CAUSE, Once, named_in, shorten
from pytest_quant.plugin.outcomes import is_tried_again, mark, take_in, uncollected
from pytest_quant.plugin.selection import is_of_variants, places, single_tests
from pytest_quant.plugin.settings import Settings
from pytest_quant.plugin.terminal_line import line_writer
from pytest_quant.plugin.terminal_progress import shown_by
from pytest_quant.report.document import Report
from pytest_quant.report.namesakes import remarks_on_namesakes
from pytest_quant.report.rows import row_of
from pytest_quant.report.set_aside import put_back, set_aside
from pytest_quant.variant.by_value import name_by_value
from pytest_quant.variant.key import key_of
from pytest_quant.variant.variant import Variant


class Run:
    """The plugin object of a run; its store is the only state that outlives a test."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self.config = config
        self.settings = settings
        self.worker: dict[str, Any] | None = getattr(config, "workerinput", None)
        threads = settings.threads or _threads_of_environment()
        given = {"threads": threads} if threads else {}
        shown = shown_by(config)
        self.conditions = Conditions(
            engine=settings.engine,
            latency_batch=settings.latency_batch,
            timing_seconds=settings.timing_seconds,
            progress=shown.progress,
            tell=shown.tell,
            **given,
        )
        self.lookup = Lookup(self.conditions, settings.all, settings.variants)
        config.pluginmanager.register(self.lookup.set_ups, "quant-set-ups")
        self.commit = commit_of(config.rootpath)  # before any test may change a file
        self.report = Report()
        self.pending: dict[pytest.Item, None] = {}
        self.lines: list[str] = []  # for the end of the summary
        self.proposal: list[str] = []  # of a test file, above the answer
        self.has_set_aside = False
        self.once = Once(config)
        if self.worker is None:
            config.pluginmanager.register(self.once, "quant-once")
            self.report.selected = single_tests(config)
            self.report.places = places(config)

    # while tests run

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """What other options than --quant-variants leave out, by which a variant is chosen."""
        only = self.settings.variants
        left = (i for i in items if only is None or variants_of(i) <= {*only, "fp32"})
        self.report.deselected += [item.nodeid for item in left if is_of_variants(item)]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Of pytest-xdist: a worker is done, which alone knows what was deselected."""
        told = getattr(node, "workeroutput", {}).get("quant_deselected", ())
        self.report.add_selection(Report(deselected=list(told)))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.pending = dict.fromkeys(filter(may_use_variants, session.items))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        settings = self.settings
        test = Running(
            item.nodeid,
            settings.limits,
            settings.timing_seconds,
            settings.early_stop,
            settings.inconclusive,
            settings.baselines,
            settings.save,
            name=name_by_value,
        )
        with recorder.running(test):
            self.lookup.origins.item = item
            try:
                return (yield)
            except BaseException:  # Ctrl-C: no report of this test will come
                self.report.add(self._payload(test))
                raise
            finally:
                self.pending.pop(item, None)
                self.lookup.set_ups.free_unused(self.pending)

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if self.settings.report is not None and not self.has_set_aside and is_of_variants(item):
            set_aside(self.settings.report)
            self.has_set_aside = True
        test = recorder.current()
        if test.tried_again:
            forget_properties(item.user_properties, test.properties)
            test.properties.clear()
            test.variants.clear()
            test.failed.clear()
            test.tried_again = False
        if self.worker is not None and variants_of(item):
            limits_of(item)  # a worker does not look at markers before
        test.limits = StatedLimits(item, self.settings.limits)
        test.gates = gates_of(item)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, Any, Any]:
        report = yield
        test = recorder.current()
        if test.nodeid != item.nodeid:
            return report
        for given in getattr(item, "funcargs", {}).values():
            if isinstance(given, Variant):  # of a fixture that has a store of its own
                recorder.looked_at(given)
        mark(report, item, call, test)
        report.quant_named = named_in(test, call.excinfo and call.excinfo.value)
        if not (test.variants or test.failed or test.verdicts):
            return report
        if call.excinfo is not None and call.excinfo.errisinstance(QuantStageError):
            report.quant_error = True
        told_later = call.when == "setup" and report.passed
        told_before = call.when == "teardown" and not test.verdicts
        if told_later or told_before:
            return report
        if self.settings.explain and call.when == "call":
            _explained(test)
        if call.when == "call" and (report.passed or _passed_against_xfail(report, item, call)):
            _mark_inconclusive(report, item, test)
        if report.failed and item.get_closest_marker("xfail") is None:
            causes = map(terminal_safe, self._causes(test))
            report.sections += [(CAUSE, text) for text in causes]
        report.quant = self._payload(test)
        if self.settings.junit:
            tell_properties(item, test)
        test.verdicts.clear()
        return report

    @pytest.hookimpl(tryfirst=True)  # before junitxml reads the properties, or a worker sends them
    def pytest_runtest_logreport(self, report: Any) -> None:
        test = recorder.current()
        test.tried_again |= is_tried_again(report)
        if test.tried_again:
            forget_properties(report.user_properties, test.properties)
        if self.worker is None:
            take_in(self.report, report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if self.worker is None and not report.passed:
            self.report.add_test(uncollected(report))

    def _causes(self, test: Running) -> list[str]:
        """Of each limit that is not met the cause; told once for a variant, whatever gates it breaches."""
        settings, found, told = self.settings, list[str](), set[tuple[Any, ...]]()
        unmet = [verdict for verdict in test.verdicts if not verdict.passed]
        seconds = settings.mend_seconds if settings.mend else 0.0
        effort = Effort(settings.explain_seconds, seconds)
        for verdict in sorted(test.verdicts, key=lambda each: each.gate == "max_flips"):
            key, topic = verdict.key, (verdict.key, topic_of(verdict) or verdict.gate)
            for variant in test.variants:
                if key_of(variant) != key or topic in told:
                    continue
                if text := cause(verdict, variant, effort):
                    name = f"{verdict.quantity} {verdict.outcome} of {verdict.variant}:\n"
                    found.append(text if len(unmet) == 1 else f"{name}{text}")
                    told.add(topic)
        return found

    def _payload(self, test: Running) -> dict[str, Any]:
        from pytest_quant.machine.environment import environment

        workers = int((self.worker or {}).get("workercount", 1))
        rows = [*test.failed, *map(_row, test.variants)]
        verdicts = [{**verdict.to_dict(), "test": test.nodeid} for verdict in test.verdicts]
        return {
            "environment": environment(self.conditions, workers, self.commit),
            "rows": [row.to_dict() for row in rows],
            "verdicts": verdicts,
        }

    def pytest_keyboard_interrupt(self) -> None:
        self.report.interrupted = True

    # when all is over

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if self.worker is not None:
            self.config.workeroutput["quant_deselected"] = self.report.deselected  # type: ignore[attr-defined]
            return
        self.report.created = datetime.now(UTC).isoformat(timespec="seconds")
        if self.pending and (session.shouldstop or session.shouldfail):  # as after -x
            self.report.interrupted = True
        self.report.notes += remarks_on_namesakes(self.report)
        self._tell_hook()
        self._write(exitstatus)

    def _tell_hook(self) -> None:
        if not self.report.rows:
            return
        from pytest_quant.report.frame import frame_of

        try:
            self.config.hook.pytest_quant_report(
                report=self.report.to_dict(), frame=frame_of(self.report)
            )
        except Exception as error:  # of a repo; table, files and answer do not depend on it
            self.lines.append(f"the hook pytest_quant_report raised {in_brief(error)}")

    def _write(self, exitstatus: int) -> None:
        """The files, which are there whatever becomes of the terminal."""
        from pytest_quant.report.files import report_written
        from pytest_quant.report.step_summary import summary_appended

        folder = self.settings.report
        if not (self.report.rows or self.report.tests or self.report.interrupted):
            if folder is not None and exitstatus in (0, pytest.ExitCode.NO_TESTS_COLLECTED):
                put_back(folder)
            return
        if folder is not None:
            self.lines += report_written(self.report, folder)
        self.lines += summary_appended(self.report)

    def pytest_terminal_summary(self, terminalreporter: Any, exitstatus: int) -> None:
        if self.worker is not None:
            return
        self._summarize(terminalreporter, exitstatus)
        shorten(terminalreporter)

    def _summarize(self, terminalreporter: Any, exitstatus: int) -> None:
        from pytest_quant.report.durations import durations_of
        from pytest_quant.report.terminal import answer_line, fitted, summary_lines

        write_line = line_writer(terminalreporter)
        terminalreporter.ensure_newline()
        terminalreporter.section("quantization")
        if not self.report.rows:
            if exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
                write_line("nothing was judged (see the errors)")
            else:
                write_line(
                    "no test asked for a variant (quant_static, quant_qat, ...), so nothing was judged"
                )
        else:
            for line in summary_lines(self.report, self.settings.format, self.once.told):
                write_line(line)
            if self.settings.durations:
                write_line(durations_of(self.report, self.settings.format))
        for line in self.proposal:
            write_line(line)
        if not (self.report.rows or self.report.tests):
            return
        for line in fitted(answer_line(self.report, self.once.told)):
            write_line(line)
        for line in self.lines:
            write_line(line)


def _threads_of_environment() -> int | None:
    """What OMP_NUM_THREADS asks for, as PyTorch itself would follow it."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() and int(asked) else None


def _row(variant: Variant) -> Row:
    """A variant's row; whatever cannot be worked out for the table is told there, and ends no run."""
    try:
        if variant.is_fp32 and variant.measured("evaluation") is not None:
            work_of(variant)  # counted once, for the report, which runs no model
        return row_of(variant)
    except Exception as error:
        return Row.blank(key_of(variant), f"report ERROR: {in_brief(error)}")


def _explained(test: Running) -> None:
    """Look into every variant of a test, as --quant-explain asks; what cannot be looked into says so."""
    for variant in test.variants:
        if not variant.is_fp32:
            try:
                explain(variant)
            except QuantStageError as error:
                variant.notes.append(f"could not be explained: {error.sentence}")


def _passed_against_xfail(report: Any, item: pytest.Item, call: pytest.CallInfo[None]) -> bool:
    """Whether a test that raised nothing fails since it is marked ``xfail(strict=True)``. What could not
    be decided is no proof that the failure that was expected is gone."""
    is_marked = item.get_closest_marker("xfail") is not None
    return bool(report.failed and call.excinfo is None and is_marked)


def _mark_inconclusive(report: Any, item: pytest.Item, test: Running) -> None:
    """Turn a passed test with an INCONCLUSIVE verdict into one that says so."""
    undecided = [v for v in test.verdicts if v.outcome is Outcome.INCONCLUSIVE]
    if not undecided:
        return
    reason = "\n".join(verdict.sentence for verdict in undecided)
    if any(_fails(verdict, test.inconclusive) for verdict in undecided):
        report.outcome, report.longrepr = "failed", reason
        report.quant_inconclusive, report.quant_reason = True, undecided[0].sentence
        return
    path, line, _ = item.location
    report.outcome, report.longrepr = "skipped", (path, line or 0, reason)
    report.quant_inconclusive = True


def _fails(verdict: Verdict, inconclusive: str) -> bool:
    if inconclusive == "auto":
        return verdict.quantity != "speed-up"
    return inconclusive == "fail"
