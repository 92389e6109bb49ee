"""Look-up: from a test's fixtures to the variant it asks for."""

from collections.abc import Callable, Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_quant.baseline.row import Row
from pytest_quant.errors import QuantStageError, hidden
from pytest_quant.judge import recorder
from pytest_quant.machine.conditions import Conditions
from pytest_quant.plugin.asked import Asked, asked_for, asking_of
from pytest_quant.plugin.measuring import measure_all, remember
from pytest_quant.plugin.misspelt import misspelt
from pytest_quant.plugin.origins import Origin, Origins
from pytest_quant.plugin.recipes import own_recipes
from pytest_quant.plugin.row_names import RowNames, note_failed, row_key
from pytest_quant.plugin.scope_notes import note_scopes
from pytest_quant.plugin.set_ups import SetUps
from pytest_quant.store.cache.cache import Cache
from pytest_quant.store.open import open_store
from pytest_quant.store.spread.spread import Spread
from pytest_quant.subject.inputs import MODEL, inputs_for
from pytest_quant.subject.subject import Subject
from pytest_quant.variant.recipe import FIXTURE_KINDS, Recipe
from pytest_quant.variant.variant import Variant


class Lookup:
    """Resolves the inputs of a test and asks the store.

    Args:
        conditions: under what all is built and measured.
        all: whether every kind is built and measured for each model.
        variants: names of those to be judged; None for all.
        cache: of what an earlier run built and evaluated.
        spread: processes on which variants are evaluated.
        claim: whether this process, of those of a run, is to complete the model of this name.

    Attributes:
        set_ups: the plugin object by which it sees what fixtures give.
    """

    def __init__(
        self,
        conditions: Conditions,
        all: bool,
        variants: tuple[str, ...] | None = None,
        cache: Cache | None = None,
        spread: Spread | None = None,
        claim: Callable[[str], bool] = lambda what: True,
    ) -> None:
        self.claim = claim
        self.conditions = conditions
        self.all = all
        self.variants = variants
        self.store = open_store(conditions, cache, spread)
        self.origins = Origins()
        self.names = RowNames(self.origins)
        self.set_ups = SetUps(self.origins, self.names, self._free)
        self.completed: set[tuple[Hashable, ...]] = set()  # Subjects for which all has been built
        self._misspelt: list[str] | None = None  # questions on fixtures that nobody asks for
        self._recipes: dict[Path, dict[str, Recipe]] = {}  # of the tests of a folder

    def variant(self, request: pytest.FixtureRequest, param: Any) -> Variant:
        """The variant that a fixture asks for: None is FP32, else a name, Recipe or (name, Recipe)."""
        __tracebackhide__ = hidden
        if self._misspelt is None:
            self._misspelt = [text for _, text in misspelt(request.session)]
        asked = self._asked(request, param)
        if self.variants is not None and asked.name not in (*self.variants, "fp32"):
            pytest.skip(f"{asked.name} is not among --quant-variants")
        subject, asked = self._subject(request, asked)
        recorder.current().askings[row_key(subject, asked)] = asking_of(request, param)
        try:
            variant = self._variant(subject, asked)
        finally:
            if self.all and subject.identity("fp32") not in self.completed:
                self.completed.add(subject.identity("fp32"))
                if self.claim(row_key(subject, asked).of_model.named()):
                    self._complete(request)
        return variant

    def _asked(self, request: pytest.FixtureRequest, param: Any) -> Asked:
        own = self._own_recipes(request)
        return asked_for(request, param, own, self.set_ups.variant_id)

    def _own_recipes(self, request: pytest.FixtureRequest) -> dict[str, Recipe]:
        folder = request.node.path.parent
        if folder not in self._recipes:
            self._recipes[folder] = own_recipes(request.node.ihook, request.config)
        return self._recipes[folder]

    def _variant(self, subject: Subject, asked: Asked) -> Variant:
        __tracebackhide__ = hidden
        test = recorder.current()
        try:
            fp32 = self.store.fp32(subject)
            remember(fp32)
            variant = fp32
            if asked.recipe is not None:
                variant = self.store.variant(subject, asked.recipe, asked.name, asked.ids)
        except QuantStageError as error:
            test.failed.append(Row.blank(row_key(subject, asked), str(error)))
            raise
        fp32.notes += [question for question in self._misspelt or () if question not in fp32.notes]
        note_scopes(self.origins, fp32, variant)
        remember(variant)
        return variant

    def _complete(self, request: pytest.FixtureRequest) -> None:
        """Build and measure all kinds and recipes of this model; what fails is a row, no failure."""
        named: dict[str, str | None] = {"fp32": None, **{kind: kind for kind in FIXTURE_KINDS}}
        named |= {name: name for name in self._own_recipes(request)}
        for param in named.values():
            try:
                subject, asked = self._subject(request, self._asked(request, param))
            except Exception:  # of a fixture; pytest raises it again in the test that asks for it
                continue
            try:
                measure_all(self._variant(subject, asked), self.conditions)
            except QuantStageError:
                continue

    def _free(self, origins: list[Origin]) -> None:
        """Forget inputs, and the variants that depend on them."""
        for origin in origins:
            identity = origin.identity
            self.store.release(identity)
            self.completed = {known for known in self.completed if identity not in known}
            if origin.fixture.scope != "function":  # the next test's value would else take its name
                self.names.forget(identity)

    # the user's inputs

    def _subject(self, request: pytest.FixtureRequest, asked: Asked) -> tuple[Subject, Asked]:
        """The resolved inputs, only those that this kind of variant needs, and how the row is named."""
        __tracebackhide__ = hidden
        model = request.getfixturevalue(MODEL)
        subject = model if isinstance(model, Subject) else Subject(model)
        self._refuse_astray(MODEL, subject.model, request.config)
        origin = self.origins.of(MODEL, subject.model)
        if subject.name is None and origin and origin.ids:
            subject = replace(subject, name="-".join(origin.ids))
        has_name = model is subject
        for each in inputs_for(asked.kind):
            if each.fixture != MODEL:
                try:
                    value = self._input(request, each.fixture)
                except Exception as error:
                    note_failed(*self.names.of(subject, asked, has_name), error)
                    raise
                if value is not None:
                    subject = replace(subject, **{each.field: value})
        return self.names.of(subject, asked, has_name)

    def _input(self, request: pytest.FixtureRequest, name: str) -> Any:
        __tracebackhide__ = hidden
        self.set_ups.started.discard(name)
        try:
            value = request.getfixturevalue(name)
            self._refuse_astray(name, value, request.config)
            return value
        except pytest.fail.Exception:
            if name in self.set_ups.started:
                raise
            raise QuantStageError(
                "fixture",
                f"{name} is parametrized, which neither quant_variant nor --quant-all supports, since only "
                "some variants need it. Ask for quant_static or quant_qat instead, or let quant_variant be "
                "parametrized over Recipes.",
            ) from None

    def _refuse_astray(self, name: str, value: Any, config: pytest.Config) -> None:
        origin, item = self.origins.astray(name, value), self.origins.item
        if origin is None or item is None:
            return
        raise QuantStageError(
            "fixture",
            f"{item.path} was given {name} of {origin.place.folder}/conftest.py, which does not lie above "
            f"it: of conftest.py files outside its rootdir, {config.rootpath}, pytest takes the one that "
            "it read last. Name a rootdir that holds them all, as in pytest --rootdir=.",
        )
