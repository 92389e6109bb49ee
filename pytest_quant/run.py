"""Run: one pytest session with gates switched on; looks variants up and gathers the report."""

from collections.abc import Generator
from dataclasses import replace
from typing import Any

import pytest

from pytest_quant import recorder
from pytest_quant.conditions import Conditions
from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.explain.causes import cause
from pytest_quant.fixtures import INPUTS, NEEDS
from pytest_quant.judge.verdict import Outcome, Verdict
from pytest_quant.origins import Origins
from pytest_quant.plugin import KINDS, limits_of, variants_of
from pytest_quant.recipe import Recipe
from pytest_quant.recorder import Running
from pytest_quant.report.document import Report
from pytest_quant.report.rows import Row, failed_row, row_of
from pytest_quant.session import open_store
from pytest_quant.settings import Settings
from pytest_quant.shown import progress_for
from pytest_quant.subject import Subject
from pytest_quant.variant import Variant


class Run:
    """The plugin object of a run; its store is the only state that outlives a test."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self.config = config
        self.settings = settings
        self.worker: dict[str, Any] | None = getattr(config, "workerinput", None)
        given = {"threads": settings.threads} if settings.threads else {}
        self.conditions = Conditions(
            engine=settings.engine,
            latency_batch=settings.latency_batch,
            timing_seconds=settings.timing_seconds,
            progress=progress_for(config),
            **given,
        )
        self.store = open_store(self.conditions)
        self.report = Report()
        self.origins = Origins()
        self.pending: dict[str, None] = {}
        self.completed: set[int] = set()  # models for which --quant-all has built everything

    # looking up

    def look_up(self, request: pytest.FixtureRequest, param: Any) -> Variant:
        """The variant that a fixture asks for: None is FP32, else a kind, Recipe or (name, Recipe)."""
        __tracebackhide__ = True
        if isinstance(param, str) and param in KINDS:
            recipe, name = Recipe(param), param
        elif isinstance(param, Recipe):
            recipe, name = param, param.label
        elif param is not None and isinstance(param, tuple):
            name, recipe = param
        elif param is None:
            recipe, name = None, "fp32"
        else:
            raise TypeError(
                f"quant_variant was parametrized with {param!r}; expected dynamic, static, qat, a "
                "Recipe or (name, Recipe)"
            )
        subject = self._subject(request, recipe.kind if recipe else "fp32", name)
        try:
            variant = self._variant(subject, recipe, name)
        finally:
            if self.settings.all and id(subject.model) not in self.completed:
                self.completed.add(id(subject.model))
                self._complete(request)
        return variant

    def _variant(self, subject: Subject, recipe: Recipe | None, name: str) -> Variant:
        __tracebackhide__ = True
        test = recorder.current()
        try:
            fp32 = self.store.fp32(subject)
            _remember(test, fp32)
            variant = fp32 if recipe is None else self.store.variant(subject, recipe, name)
        except QuantStageError as error:
            test.failed.append(failed_row(subject.label, subject.where, name, str(error)))
            raise
        _remember(test, variant)
        return variant

    def _complete(self, request: pytest.FixtureRequest) -> None:
        """Build and measure all kinds and recipes of this model; what fails is a row, no failure."""
        own = request.node.ihook.pytest_quant_recipes(config=self.config)
        named: dict[str, Recipe | None] = {"fp32": None, **{kind: Recipe(kind) for kind in KINDS}}
        for recipes in own:
            named |= recipes
        for name, recipe in named.items():
            try:
                subject = self._subject(request, recipe.kind if recipe else "fp32", name)
            except Exception:  # of a fixture; pytest raises it again in the test that asks for it
                continue
            try:
                measure_all(self._variant(subject, recipe, name), self.conditions)
            except QuantStageError:
                continue

    def _subject(self, request: pytest.FixtureRequest, kind: str, name: str) -> Subject:
        """The resolved inputs, only those that this kind of variant needs; one that raises is a row."""
        __tracebackhide__ = True
        needed = {name for name in INPUTS if not any(name in names for names in NEEDS.values())}
        needed |= set(NEEDS.get(kind, ()))
        if kind == "custom":
            needed |= {"quant_calibration_data", "quant_train_data"}
        model = request.getfixturevalue("quant_model")
        origin = self.origins.of(model, request.node.nodeid)
        subject = model if isinstance(model, Subject) else Subject(model)
        subject = replace(
            subject,
            name=subject.name or (origin.param if origin else None),
            where=origin.where if origin else "",
        )
        given: dict[str, Any] = {}
        for fixture in INPUTS:
            if fixture not in needed or fixture == "quant_model":
                continue
            try:
                value = request.getfixturevalue(fixture)
            except Exception as error:
                sentence = getattr(error, "__notes__", [in_brief(error)])[-1]
                row = failed_row(subject.label, subject.where, name, sentence)
                recorder.current().failed.append(row)
                raise
            if value is not None:
                given[fixture.removeprefix("quant_")] = value
        return replace(subject, **given)

    # what the fixtures do

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, Any, Any]:
        name = fixturedef.argname
        try:
            value = yield
        except QuantStageError:
            raise
        except Exception as error:
            if name in INPUTS:
                error.add_note(f"fixture ERROR: {name} raised {in_brief(error)}")
            raise
        if name == "quant_model":
            self.origins.add(fixturedef, request, value)
        return value

    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        if fixturedef.argname == "quant_model":
            self._free(self.origins.drop(lambda origin: origin.fixture is fixturedef))

    def _free(self, models: list[Any]) -> None:
        for model in models:
            self.store.release(model.model if isinstance(model, Subject) else model)

    # while tests run

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.pending = dict.fromkeys(item.nodeid for item in session.items if variants_of(item))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        settings = self.settings
        test = Running(
            item.nodeid,
            settings.limits,
            settings.timing_seconds,
            settings.early_stop,
            settings.inconclusive,
        )
        with recorder.running(test):
            try:
                return (yield)
            except BaseException:  # Ctrl-C: no report of this test will come
                self.report.add(self._payload(test))
                raise
            finally:
                self.pending.pop(item.nodeid, None)
                self._free(self.origins.drop(lambda origin: not origin.is_seen_by(self.pending)))

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        recorder.current().limits = {**self.settings.limits, **limits_of(item)}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, Any, Any]:
        report = yield
        test = recorder.current()
        if test.nodeid != item.nodeid or not (test.variants or test.failed or test.verdicts):
            return report
        if call.excinfo is not None and call.excinfo.errisinstance(QuantStageError):
            report.quant_error = True
        report.sections += [("cause and remedy", text) for text in _causes(test)]
        if call.when == "call" and report.outcome == "passed":
            _mark_inconclusive(report, item, test)
        report.quant = self._payload(test)
        test.verdicts.clear()
        return report

    def pytest_runtest_logreport(self, report: Any) -> None:
        if self.worker is None and (payload := getattr(report, "quant", None)):
            self.report.add(payload)

    def _payload(self, test: Running) -> dict[str, Any]:
        from pytest_quant.environment import environment

        workers = int((self.worker or {}).get("workercount", 1))
        rows: list[Row] = [*test.failed, *(row_of(variant) for variant in test.variants)]
        self._note_scope(rows)
        verdicts = [{**verdict.to_dict(), "test": test.nodeid} for verdict in test.verdicts]
        return {
            "environment": environment(self.conditions, workers),
            "rows": rows,
            "verdicts": verdicts,
        }

    def _note_scope(self, rows: list[Row]) -> None:
        for row in rows:
            if row["variant"] == "fp32" and self.origins.is_function_scoped(row["where"]):
                row["notes"].append(
                    "quant_model is function-scoped, so each test builds its own variants; give it "
                    "scope='session'"
                )

    # when all is over

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.worker is not None or not self.report.rows:
            return
        from pytest_quant.report.frame import frame_of

        self.config.hook.pytest_quant_report(
            report=self.report.to_dict(), frame=frame_of(self.report)
        )

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.worker is not None:
            return
        from pytest_quant.report.files import write_report
        from pytest_quant.report.terminal import summary_lines

        terminalreporter.section("quantization")
        if not self.report.rows:
            terminalreporter.write_line(
                "no variant could be made (see the errors), so nothing was judged"
                if terminalreporter.stats.get("error")
                else "no test asked for a variant (quant_static, quant_qat, ...), so nothing was judged"
            )
            return
        for line in summary_lines(self.report, self.settings.format):
            terminalreporter.write_line(line)
        if self.settings.report is not None:
            for path in write_report(self.report, self.settings.report):
                terminalreporter.write_line(f"written: {path}")


def measure_all(variant: Variant, conditions: Conditions) -> None:
    """Everything that the table shows; what cannot be measured stays open and raises at the end."""
    errors = []
    for what in ("size", "int8_share", "evaluation"):
        try:
            getattr(variant, what)
        except QuantStageError as error:
            errors.append(error)
    if not variant.is_fp32:
        pair = variant.pair("given")
        pair.add_rounds(ROUNDS_SHOWN, conditions.timing_seconds)
        _ = variant.fp32.format_gain
    if errors:
        raise errors[0]


ROUNDS_SHOWN = 20  # enough for a 95 % interval of the median


def _remember(test: Running, variant: Variant) -> None:
    if variant not in test.variants:
        test.variants.append(variant)


def _causes(test: Running) -> list[str]:
    found = []
    for verdict in test.verdicts:
        for variant in test.variants:
            if variant.name == verdict.variant and (text := cause(verdict, variant)):
                found.append(f"{verdict.sentence}\n{text}")
    return found


def _mark_inconclusive(report: Any, item: pytest.Item, test: Running) -> None:
    """Turn a passed test with an INCONCLUSIVE verdict into one that says so."""
    undecided = [v for v in test.verdicts if v.outcome is Outcome.INCONCLUSIVE]
    if not undecided:
        return
    reason = "\n".join(verdict.sentence for verdict in undecided)
    if any(_fails(verdict, test.inconclusive) for verdict in undecided):
        report.outcome, report.longrepr = "failed", reason
        return
    path, line, _ = item.location
    report.outcome, report.longrepr = "skipped", (path, line or 0, reason)
    report.quant_inconclusive = True


def _fails(verdict: Verdict, inconclusive: str) -> bool:
    if inconclusive == "auto":
        return verdict.gate != "min_speedup"
    return inconclusive == "fail"
