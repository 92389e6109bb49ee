"""Look-up: from a test's fixtures to the variant it asks for."""

import contextlib
from collections.abc import Generator, Iterable
from dataclasses import replace
from typing import Any

import pytest

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.judge import recorder
from pytest_quant.judge.recorder import Running
from pytest_quant.machine.conditions import Conditions
from pytest_quant.plugin.fixtures import INPUTS, NEEDS
from pytest_quant.plugin.origins import Origins
from pytest_quant.report.rows import failed_row
from pytest_quant.store.open import open_store
from pytest_quant.subject.subject import Subject
from pytest_quant.variant.recipe import FIXTURE_KINDS, Recipe
from pytest_quant.variant.variant import Variant

ROUNDS_SHOWN = 20  # enough for a 95 % interval of the median


class Lookup:
    """Resolves the inputs of a test and asks the store; a plugin, to see what the fixtures give.

    Args:
        conditions: under what all is built and measured.
        all: whether every kind is built and measured for each model.
    """

    def __init__(self, conditions: Conditions, all: bool) -> None:
        self.conditions = conditions
        self.all = all
        self.store = open_store(conditions)
        self.origins = Origins()
        self.completed: set[tuple[int, ...]] = set()  # Subjects for which all has been built

    def variant(self, request: pytest.FixtureRequest, param: Any) -> Variant:
        """The variant that a fixture asks for: None is FP32, else a name, Recipe or (name, Recipe)."""
        __tracebackhide__ = True
        own = self._own_recipes(request)
        if isinstance(param, str) and param in FIXTURE_KINDS:
            recipe, name = Recipe(param), param
        elif isinstance(param, str) and param in own:
            recipe, name = own[param], param
        elif isinstance(param, Recipe):
            recipe, name = param, param.label
        elif param is not None and isinstance(param, tuple):
            name, recipe = param
        elif param is None:
            recipe, name = None, "fp32"
        else:
            raise TypeError(
                f"quant_variant was parametrized with {param!r}; expected "
                f"{', '.join([*FIXTURE_KINDS, *own])}, a Recipe or (name, Recipe)"
            )
        subject = self._subject(request, recipe.kind if recipe else "fp32", name)
        try:
            variant = self._variant(subject, recipe, name)
        finally:
            if self.all and subject.identity("fp32") not in self.completed:
                self.completed.add(subject.identity("fp32"))
                self._complete(request)
        return variant

    def _own_recipes(self, request: pytest.FixtureRequest) -> dict[str, Recipe]:
        given = request.node.ihook.pytest_quant_recipes(config=request.config)
        return {name: recipe for recipes in given for name, recipe in recipes.items()}

    def _variant(self, subject: Subject, recipe: Recipe | None, name: str) -> Variant:
        __tracebackhide__ = True
        test = recorder.current()
        try:
            fp32 = self.store.fp32(self._as_fp32(subject, test.nodeid))
            _remember(test, fp32)
            variant = fp32 if recipe is None else self.store.variant(subject, recipe, name)
        except QuantStageError as error:
            test.failed.append(failed_row(subject, name, str(error)))
            raise
        _remember(test, variant)
        return variant

    def _complete(self, request: pytest.FixtureRequest) -> None:
        """Build and measure all kinds and recipes of this model; what fails is a row, no failure."""
        named: dict[str, Recipe | None] = {
            "fp32": None,
            **{kind: Recipe(kind) for kind in FIXTURE_KINDS},
        }
        named |= self._own_recipes(request)
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
        model = request.getfixturevalue("quant_model")
        subject = model if isinstance(model, Subject) else Subject(model)
        origin = self.origins.of(subject.model, request.node.nodeid)
        where = origin.where if origin else ""
        name_of_model = subject.name or (origin.param if origin else None)
        subject = replace(subject, name=name_of_model, where=where)
        given: dict[str, Any] = {}
        for fixture in INPUTS:
            if fixture not in needed or fixture == "quant_model":
                continue
            try:
                value = request.getfixturevalue(fixture)
            except Exception as error:
                sentence = getattr(error, "__notes__", [in_brief(error)])[-1]
                row = failed_row(subject, name, sentence)
                recorder.current().failed.append(row)
                raise
            if value is not None:
                given[fixture.removeprefix("quant_")] = value
        where = self.origins.where([subject.model, *given.values()], request.node.nodeid)
        return replace(subject, where=where, **given)

    def _as_fp32(self, subject: Subject, nodeid: str) -> Subject:
        """The Subject where FP32 belongs: data for tuning a variant says nothing of FP32."""
        return replace(subject, where=self.origins.where(subject.parts("fp32"), nodeid))

    def free_unused(self, pending: Iterable[str]) -> None:
        """Forget models, and their variants, that none of these tests can use."""
        self._free(self.origins.drop(lambda origin: not origin.is_seen_by(pending)))

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
        if name in INPUTS and value is not None:
            part = value.model if isinstance(value, Subject) else value
            self.origins.add(fixturedef, request, part)
        return value

    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        if fixturedef.argname in INPUTS:
            self._free(self.origins.drop(lambda origin: origin.fixture is fixturedef))

    def _free(self, inputs: list[Any]) -> None:
        for part in inputs:
            self.store.release(part)
            self.completed = {ids for ids in self.completed if id(part) not in ids}


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


def _remember(test: Running, variant: Variant) -> None:
    """Note that a test has looked at a variant; what costs next to nothing is measured for the table."""
    if variant in test.variants:
        return
    test.variants.append(variant)
    if hasattr(variant.model, "state_dict"):
        with contextlib.suppress(QuantStageError):
            _ = variant.size, variant.int8_share
