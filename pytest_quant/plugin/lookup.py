"""Look-up: from a test's fixtures to the variant it asks for."""

import contextlib
from collections.abc import Generator, Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pytest_quant.baseline.row import Row
from pytest_quant.errors import QuantStageError, hidden, in_brief, terminal_safe
from pytest_quant.judge import recorder
from pytest_quant.machine.conditions import Conditions
from pytest_quant.measure.nearness import nearness
from pytest_quant.plugin.items import variants_of
from pytest_quant.plugin.origins import Origin, Origins, is_seen_by
from pytest_quant.plugin.outcomes import NOTE
from pytest_quant.plugin.recipes import own_recipes
from pytest_quant.store.open import open_store
from pytest_quant.subject.inputs import FIXTURES, MODEL, SCOPE, inputs_for
from pytest_quant.subject.subject import Subject
from pytest_quant.subject.value_digest import value_digest
from pytest_quant.variant.key import RowKey
from pytest_quant.variant.recipe import FIXTURE_KINDS, Recipe
from pytest_quant.variant.variant import Variant

ROUNDS_SHOWN = 20  # enough for a 95 % interval of the median


@dataclass(frozen=True, slots=True)
class Asked:
    """What a test asks for.

    Args:
        recipe: of the variant; None for FP32.
        name: of the variant.
        ids: that tell it from another one of its name.
    """

    recipe: Recipe | None
    name: str
    ids: str = ""

    @property
    def kind(self) -> str:
        """Of the recipe; ``fp32`` for FP32."""
        return self.recipe.kind if self.recipe else "fp32"


class Lookup:
    """Resolves the inputs of a test and asks the store; a plugin, to see what the fixtures give.

    Args:
        conditions: under what all is built and measured.
        all: whether every kind is built and measured for each model.
        variants: names of those to be judged; None for all.
    """

    def __init__(
        self, conditions: Conditions, all: bool, variants: tuple[str, ...] | None = None
    ) -> None:
        self.conditions = conditions
        self.all = all
        self.variants = variants
        self.store = open_store(conditions)
        self.origins = Origins()
        self.completed: set[tuple[Hashable, ...]] = set()  # Subjects for which all has been built
        self._named: dict[RowKey, Hashable] = {}  # what each name of a row stands for
        self._recipes: dict[Path, dict[str, Recipe]] = {}  # of the tests of a folder
        self._variant_id: str | None = None  # of quant_variant's parameter
        self._started: set[str] = set()  # fixtures whose set-up has begun
        self._raised: dict[pytest.FixtureDef[Any], Exception] = {}  # of inputs that are set up

    def variant(self, request: pytest.FixtureRequest, param: Any) -> Variant:
        """The variant that a fixture asks for: None is FP32, else a name, Recipe or (name, Recipe)."""
        __tracebackhide__ = hidden
        asked = self._asked(request, param)
        if self.variants is not None and asked.name not in (*self.variants, "fp32"):
            pytest.skip(f"{asked.name} is not among --quant-variants")
        subject, asked = self._subject(request, asked)
        try:
            variant = self._variant(subject, asked)
        finally:
            if self.all and subject.identity("fp32") not in self.completed:
                self.completed.add(subject.identity("fp32"))
                self._complete(request)
        return variant

    def _asked(self, request: pytest.FixtureRequest, param: Any) -> Asked:
        own = self._own_recipes(request)
        root = own_recipes(request.session.ihook, request.config)
        if param is None:
            return Asked(None, "fp32")
        if isinstance(param, str) and param in own:
            # a nearer conftest's recipe of a name is another one than the root's
            nearer = param in root and root[param] != own[param]
            place = request.node.path.parent
            return Asked(own[param], param, _relative(place, request.config) if nearer else "")
        if isinstance(param, str) and param in FIXTURE_KINDS:
            return Asked(Recipe(param), param)
        if isinstance(param, tuple) and len(param) == 2 and isinstance(param[1], Recipe):
            return Asked(param[1], str(param[0]))
        if isinstance(param, Recipe):
            # labels tell all recipes apart but those of builds, whose functions may share a name
            return Asked(param, param.label, (self._variant_id or "") if param.build else "")
        raise TypeError(
            f"quant_variant was parametrized with {param!r}; expected "
            f"{terminal_safe(', '.join([*FIXTURE_KINDS, *own]))}, a Recipe or (name, Recipe)"
        )

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
            _remember(fp32)
            variant = fp32
            if asked.recipe is not None:
                variant = self.store.variant(subject, asked.recipe, asked.name, asked.ids)
        except QuantStageError as error:
            test.failed.append(Row.blank(_key(subject, asked), str(error)))
            raise
        self._note_scopes(fp32, variant)
        _remember(variant)
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
                    self._failed(*self._named_subject(subject, asked, has_name), error)
                    raise
                if value is not None:
                    subject = replace(subject, **{each.field: value})
        return self._named_subject(subject, asked, has_name)

    def _input(self, request: pytest.FixtureRequest, name: str) -> Any:
        __tracebackhide__ = hidden
        self._started.discard(name)
        try:
            value = request.getfixturevalue(name)
            self._refuse_astray(name, value, request.config)
            return value
        except pytest.fail.Exception:
            if name in self._started:
                raise
            raise QuantStageError(
                "fixture",
                f"{name} is parametrized, which quant_variant cannot follow, nor --quant-all, since only "
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

    def _failed(self, subject: Subject, asked: Asked, error: BaseException) -> None:
        is_ours = isinstance(error, QuantStageError)
        sentence = str(error) if is_ours else getattr(error, "__notes__", [in_brief(error)])[-1]
        recorder.current().failed.append(Row.blank(_key(subject, asked), sentence))

    def _named_subject(
        self, subject: Subject, asked: Asked, has_name: bool
    ) -> tuple[Subject, Asked]:
        """The Subject and what was asked of it, with what tells them from namesakes."""
        found = {
            each.fixture: origin
            for each in subject.inputs(asked.kind)
            if (value := getattr(subject, each.field)) is not None
            and (origin := self.origins.of(each.fixture, value))
        }
        identities = {FIXTURES[name].field: origin.identity for name, origin in found.items()}
        base = {name: origin for name, origin in found.items() if FIXTURES[name].kinds is None}
        own = [origin for name, origin in found.items() if name not in base]
        place = max((origin.place for origin in base.values()), key=lambda p: p.depth, default=None)
        in_name = found[MODEL].ids if MODEL in found and not has_name else ()
        ids = [each for origin in base.values() for each in origin.ids if each not in in_name]
        subject = replace(
            subject,
            where=place.where if place else "",
            ids="-".join(dict.fromkeys(ids)),
            identities=identities,
        )
        shared = {*in_name, *ids}
        more = [each for origin in own for each in origin.ids if each not in shared]
        more = more or [o.place.where for o in own if place and o.place.depth > place.depth]
        asked = replace(asked, ids="-".join(dict.fromkeys(filter(None, [asked.ids, *more]))))
        return self._told_apart(subject, asked)

    def _told_apart(self, subject: Subject, asked: Asked) -> tuple[Subject, Asked]:
        """With the test's own name where one name would stand for two values."""
        item = self.origins.item
        whose = RowKey(subject.where, subject.label, "fp32", subject.ids)
        identity: Hashable = subject.identity("fp32")
        if self._named.setdefault(whose, identity) != identity and item is not None:
            subject = replace(subject, where=item.nodeid)
        if asked.recipe is not None:
            identity = (subject.identity(asked.kind), asked.recipe)
            key = _key(subject, asked)
            if self._named.setdefault(key, identity) != identity and item is not None:
                asked = replace(asked, ids=f"{asked.ids}-{item.nodeid}".strip("-"))
        return subject, asked

    def _note_scopes(self, fp32: Variant, variant: Variant) -> None:
        """Say which inputs are made anew for each test, once on the row that they cost."""
        for each in variant.subject.inputs(variant.recipe.kind if variant.recipe else "fp32"):
            value = getattr(variant.subject, each.field)
            origin = None if value is None else self.origins.of(each.fixture, value)
            if origin is None or origin.fixture.scope != "function":
                continue
            whose = fp32 if each.kinds is None else variant
            what = "variants" if each.kinds is None else variant.name
            cost = (
                "each test makes it anew, to be compared"
                if origin.is_repeated
                else f"each test builds its own {what}"
            )
            note = f"{each.fixture} is function-scoped, so {cost}; give it scope='{SCOPE}'"
            if note not in whose.notes:
                whose.notes.append(note)

    # what the fixtures give

    def free_unused(self, pending: Iterable[pytest.Item]) -> None:
        """Forget models, and their variants, that none of these tests can use."""
        items = list(pending)
        self._free(self.origins.drop(lambda origin: not is_seen_by(origin, items)))

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, Any, Any]:
        name = fixturedef.argname
        self._started.add(name)
        if name == "quant_variant":
            self._variant_id = self.origins.parameter(fixturedef, request)
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
        self._free(
            self.origins.drop(
                lambda each: each.fixture is fixturedef and not _is_digest(each.identity)
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
                self._failed(*self._named_subject(subject, asked, bool(model.label)), error)

    def _compare(self, origin: Origin) -> None:
        """Find out whether a value is the one that an earlier test had; if not, that one goes."""
        if digest := value_digest(origin.value):
            origin.identity = ("digest", digest)
        before = [
            each
            for each in self.origins.same(origin.fixture)
            if each is not origin and each.ids == origin.ids
        ]
        origin.is_repeated = digest is not None and all(
            each.identity == origin.identity and each.is_repeated for each in before
        )
        self._free(self.origins.drop(lambda each: each in before))

    def _free(self, origins: list[Origin]) -> None:
        for origin in origins:
            identity = origin.identity
            self.store.release(identity)
            self.completed = {known for known in self.completed if identity not in known}
            if origin.fixture.scope == "function":
                continue  # the next test's value would else take the name of this one
            for key in [k for k, whose in self._named.items() if identity in _flat(whose)]:
                del self._named[key]


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


def _remember(variant: Variant) -> None:
    """Note that a test has looked at a variant; what costs next to nothing is measured for the table."""
    if not recorder.looked_at(variant):
        return
    if hasattr(variant.model, "state_dict"):
        with contextlib.suppress(QuantStageError):
            _ = variant.size, variant.int8_share
        if not variant.is_fp32:
            with contextlib.suppress(QuantStageError):
                nearness(variant)


def _key(subject: Subject, asked: Asked) -> RowKey:
    return RowKey(subject.where, subject.label, asked.name, subject.ids, asked.ids)


def _is_digest(identity: Any) -> bool:
    return isinstance(identity, tuple) and len(identity) == 2 and identity[0] == "digest"


def _flat(identity: Any) -> Iterator[Hashable]:
    yield identity
    if isinstance(identity, tuple) and not _is_digest(identity):
        for part in identity:
            yield from _flat(part)


def _relative(folder: Path, config: pytest.Config) -> str:
    root = config.rootpath
    return folder.relative_to(root).as_posix() if folder.is_relative_to(root) else folder.name
