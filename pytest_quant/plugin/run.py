"""Run: one pytest session with gates switched on; follows the tests and gathers the report."""

import os
from collections.abc import Generator
from datetime import UTC, datetime
from typing import Any

import pytest

from pytest_quant.errors import QuantStageError
from pytest_quant.judge import recorder
from pytest_quant.judge.recorder import Running
from pytest_quant.machine.commit import commit_of
from pytest_quant.machine.conditions import Conditions
from pytest_quant.machine.environment import environment
from pytest_quant.plugin.cache_place import CachePlace
from pytest_quant.plugin.closing import Closing
from pytest_quant.plugin.exports import Exports
from pytest_quant.plugin.items import (
    StatedLimits,
    gates_of,
    limits_of,
    may_use_variants,
    variants_of,
)
from pytest_quant.plugin.junit import forget_properties, tell_properties
from pytest_quant.plugin.lookup import Lookup
from pytest_quant.plugin.once import CAUSE, Once, named_in
from pytest_quant.plugin.outcomes import is_tried_again, mark, take_in, uncollected
from pytest_quant.plugin.outside_rootdir import OutsideRootdir
from pytest_quant.plugin.payload import causes_of, explain_all, payload_of, sections_of
from pytest_quant.plugin.recipes import artefacts
from pytest_quant.plugin.removed import Removed
from pytest_quant.plugin.selection import is_of_variants, places, single_tests
from pytest_quant.plugin.settings import Settings
from pytest_quant.plugin.terminal_progress import shown_by
from pytest_quant.plugin.unasked import Unasked
from pytest_quant.plugin.undecided import mark_undecided
from pytest_quant.report.document import Report
from pytest_quant.report.namesakes import remarks_on_namesakes
from pytest_quant.report.set_aside import set_aside
from pytest_quant.store.spread.spread import Spread
from pytest_quant.variant.by_value import name_by_value
from pytest_quant.variant.variant import Variant


class Run:
    """The plugin object of a run; its store is the only state that outlives a test."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self.config = config
        self.settings = settings
        self.worker: dict[str, Any] | None = getattr(config, "workerinput", None)
        threads = settings.threads or _threads_of_environment()
        given: dict[str, Any] = {"threads": threads} if threads else {}
        shown = shown_by(config)
        self.conditions = Conditions(
            engine=settings.engine,
            train_device=settings.train_device,
            latency_batch=settings.latency_batch,
            latency_grid=settings.latency_grid,
            timing_seconds=settings.timing_seconds,
            calibration_shift=settings.calibration_shift,
            progress=shown.progress,
            tell=shown.tell,
            root=config.rootpath,
            **given,
        )
        self.cache_place = CachePlace(config, settings, self.conditions)
        config.pluginmanager.register(self.cache_place, "quant-cache-place")
        cache = self.cache_place.cache
        if self.worker is not None:
            config.add_cleanup(self.cache_place.share_cores(int(self.worker["workercount"])))
        spread = Spread(settings.jobs, settings.jobs_backend) if settings.jobs > 1 else None
        if spread is not None:
            config.add_cleanup(spread.close)
        self.lookup = Lookup(
            self.conditions, settings.all, settings.variants, cache, spread, self.cache_place.claim
        )
        config.pluginmanager.register(self.lookup.set_ups, "quant-set-ups")
        config.pluginmanager.register(OutsideRootdir(), "quant-outside-rootdir")
        config.pluginmanager.register(Removed(), "quant-removed")
        if artefacts(config):
            config.pluginmanager.register(Unasked(config), "quant-unasked")
        self.commit = commit_of(config.rootpath)  # before any test may change a file
        self.report = Report()
        self.pending: dict[pytest.Item, None] = {}
        self.has_set_aside = False
        self.once = Once(config)
        self.closing = Closing(config, settings, self.report, self.once)
        who = "" if self.worker is None else self.worker["workerid"]
        self.exports = Exports(settings.export, who or "run") if settings.export else None
        if self.exports is not None and self.worker is None:
            config.add_cleanup(self.exports.hold())
            self.exports.clear()
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
                done = yield
                if self.exports is not None:
                    self.exports.stage(test.variants)
                return done
            except BaseException:  # Ctrl-C: no report of this test will come
                self.report.add(payload_of(test, self._environment()))
                raise
            finally:
                self.pending.pop(item, None)
                self.lookup.set_ups.free_unused(self.pending)

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if self.settings.report is not None and not self.has_set_aside and is_of_variants(item):
            set_aside(self.settings.report)
            self.has_set_aside = True
        if self.exports is not None and is_of_variants(item):
            self.exports.begin()
        test = recorder.current()
        if test.tried_again:
            forget_properties(item.user_properties, test.properties)
            for variant, part in test.looked_into:
                variant.forget(part)
            test.properties.clear()
            test.looked_into.clear()
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
            explain_all(test)
        mark_undecided(report, item, call, test)
        is_told = report.failed and item.get_closest_marker("xfail") is None
        causes = causes_of(test, self.settings) if is_told else []
        report.sections += [(CAUSE, text) for text in sections_of(causes, test)]
        report.quant = payload_of(test, self._environment(), causes)
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

    def _environment(self) -> dict[str, Any]:
        workers = int((self.worker or {}).get("workercount", 1))
        return environment(self.conditions, workers, self.commit)

    def pytest_keyboard_interrupt(self) -> None:
        self.report.interrupted = True

    # when all is over

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if self.worker is not None:
            self.config.workeroutput["quant_deselected"] = self.report.deselected  # type: ignore[attr-defined]
            return
        self.report.created = datetime.now(UTC).isoformat(timespec="seconds")
        self._take_in_what_did_not_run(session, exitstatus)
        self.report.notes += remarks_on_namesakes(self.report)
        if self.exports is not None:
            self.closing.lines += self.exports.finish(self.report)
            if self.exports.failed and exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED
        self.closing.tell_hook()
        self.closing.write(exitstatus)

    def _take_in_what_did_not_run(self, session: pytest.Session, exitstatus: int) -> None:
        """Tests that were collected, and that nothing has run, whatever the reason."""
        if self.pending and (session.shouldstop or session.shouldfail):  # as after -x
            self.report.interrupted = True
        elif exitstatus in (pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR):
            self.report.interrupted |= bool(self.report.rows or self.report.tests)
        elif not (self.report.interrupted or self.config.getoption("collectonly")):
            self.report.deselected += [each.nodeid for each in self.pending if variants_of(each)]

    def pytest_terminal_summary(self, terminalreporter: Any, exitstatus: int) -> None:
        if self.worker is None:
            self.closing.summarize(terminalreporter, exitstatus)


def _threads_of_environment() -> int | None:
    """What OMP_NUM_THREADS asks for, as PyTorch itself would follow it."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() and int(asked) else None
