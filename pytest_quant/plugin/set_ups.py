"""Set-ups: what fixtures give while tests run, what of it may be forgotten, and what they raise."""

from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from typing import Any

import pytest

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.judge import recorder
from pytest_quant.plugin.asked import Asked
from pytest_quant.plugin.items import variants_of
from pytest_quant.plugin.origins import Origin, Origins, is_digest, is_seen_by
from pytest_quant.plugin.outcomes import NOTE
from pytest_quant.plugin.row_names import RowNames, note_failed
from pytest_quant.subject.fingerprint import known_fingerprint
from pytest_quant.subject.inputs import FIXTURES, MODEL, inputs_for
from pytest_quant.subject.subject import Subject
from pytest_quant.variant.recipe import FIXTURE_KINDS


class SetUps:
    """A plugin object that sees fixtures set up and torn down.

    Args:
        origins: of what is set up, which it keeps.
        names: of rows.
        free: is told of inputs that none is left of.

    Attributes:
        started: names of fixtures whose set-up has begun since a look-up has asked for them.
        variant_id: of the parameter of `quant_variant`.
    """

    def __init__(
        self, origins: Origins, names: RowNames, free: Callable[[list[Origin]], None]
    ) -> None:
        self.origins = origins
        self.names = names
        self.free = free
        self.started: set[str] = set()
        self.variant_id: str | None = None
        self._raised: dict[pytest.FixtureDef[Any], Exception] = {}  # of inputs that are set up

    def free_unused(self, pending: Iterable[pytest.Item]) -> None:
        """Forget models, and their variants, that none of these tests can use."""
        items = list(pending)
        self.free(self.origins.drop(lambda origin: not is_seen_by(origin, items)))

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, Any, Any]:
        name = fixturedef.argname
        self.started.add(name)
        if name == "quant_variant":
            self.variant_id = self.origins.parameter(fixturedef, request)
        with self.origins.setting_up() as asked:
            try:
                value = yield
            except Exception as error:
                if name in FIXTURES:
                    if not isinstance(error, QuantStageError):
                        error.add_note(f"{NOTE}: {name} raised {in_brief(error)}")
                    self._raised[fixturedef] = error
                raise
        is_named = name == MODEL and isinstance(value, Subject)
        part = value.model if is_named else value
        origin = self.origins.add(fixturedef, request, part, asked)
        origin.label = value.name if is_named else None
        if name in FIXTURES and part is not None and fixturedef.scope == "function":
            self._compare(origin)
        return value

    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        """What is over goes, but for what the next test may give again."""
        self._raised.pop(fixturedef, None)
        self.origins.tear_down(fixturedef)
        self.free(
            self.origins.drop(
                lambda each: each.fixture is fixturedef and not is_digest(each.identity)
            )
        )

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None]:
        """An input that raises before a variant could ask for it is a row of each that needs it; pytest
        sets a session's up once, and raises the same error again in later tests."""
        try:
            return (yield)
        except Exception as error:
            raised = [each.argname for each, known in self._raised.items() if known is error]
            if raised and not recorder.current().failed:
                self._failed_before(item, raised[0], error)
            raise

    def _failed_before(self, item: pytest.Item, name: str, error: Exception) -> None:
        """Note the variants that a test would have had; without a model there is no row."""
        model = self.origins.named(MODEL)
        if model is None or name == MODEL:
            return
        subject = Subject(model.value, model.label or "-".join(model.ids) or None)
        for each in inputs_for("fp32"):
            if each.fixture != MODEL and (origin := self.origins.named(each.fixture)):
                subject = replace(subject, **{each.field: origin.value})
        for variant in sorted(variants_of(item)):
            # of other recipes only what all variants need is set up before
            if FIXTURES[name].is_for(variant if variant in FIXTURE_KINDS else "fp32"):
                asked = Asked(None, variant)
                note_failed(*self.names.of(subject, asked, bool(model.label)), error)

    def _compare(self, origin: Origin) -> None:
        """Find out whether a value is the one that an earlier test had; if not, that one goes."""
        if digest := known_fingerprint(origin.value):
            origin.identity = ("digest", digest)
        before = [
            each
            for each in self.origins.same(origin.fixture)
            if each is not origin and each.ids == origin.ids
        ]
        origin.is_repeated = digest is not None and all(
            each.identity == origin.identity and each.is_repeated for each in before
        )
        self.free(self.origins.drop(lambda each: each in before))
