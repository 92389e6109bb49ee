"""Store: every variant of a run, built once, looked up by what it depends on."""

import threading
from collections.abc import Callable, Hashable
from contextlib import nullcontext
from dataclasses import asdict, replace
from typing import Any

from pytest_quant.errors import QuantStageError, UnwantedError
from pytest_quant.machine.conditions import Conditions, isolated
from pytest_quant.machine.opened import opened
from pytest_quant.measure.shifted import shifted, shifted_in
from pytest_quant.quantize.built import Built
from pytest_quant.store.cache.cache import Cache
from pytest_quant.store.choice import Choice
from pytest_quant.store.contest import fastest, inputs_of, is_contest
from pytest_quant.store.weighing import is_weighed, weighed
from pytest_quant.subject.subject import Admitted, Subject, admit
from pytest_quant.subject.weights_digest import weights_digest
from pytest_quant.variant.kept import BUILD
from pytest_quant.variant.measurements import NO_DRAWER, Measures
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.variant import Variant

Build = Callable[..., Built]  # as `build.build`


class Store:
    """Variants by the identity of their Subject's inputs and their Recipe; failures are kept too.

    Args:
        conditions: under what all is built and measured.
        build: makes a model after a recipe.
        measures: how variants are measured.
        cache: of what an earlier run built and evaluated; None for none.
    """

    def __init__(
        self,
        conditions: Conditions,
        build: Build,
        measures: Measures,
        cache: Cache | None = None,
    ) -> None:
        self.conditions = conditions
        self.cache = cache
        self._build = build
        self._measures = measures
        self._variants: dict[tuple[Any, ...], Variant | QuantStageError] = {}
        self._alive: dict[tuple[Any, ...], Subject] = {}  # keeps the ids in the keys from reuse
        self._lock = threading.RLock()  # PyTorch's conversions are not thread-safe

    def fp32(self, subject: Subject) -> Variant:
        """The baseline of a Subject, which is checked at the door when it comes first.

        Raises:
            QuantStageError: when the Subject cannot be admitted; the same one each time.
        """
        return self._look_up(subject, ("fp32",), "fp32", lambda: self._admitted(subject))

    def variant(
        self, subject: Subject, recipe: Recipe, name: str | None = None, ids: str = ""
    ) -> Variant:
        """The variant of a Subject after a recipe, built when it is first asked for.

        Args:
            subject: whose.
            recipe: how.
            name: in the report; default the recipe's label.
            ids: of parameters, which tell namesakes apart.

        Raises:
            QuantStageError: when a stage fails; the same one each time.
        """
        name = name or recipe.label
        fp32 = self.fp32(subject)

        def made(chosen: Recipe, look: Callable[[Variant], None] | None = None) -> Variant:
            return self._made(subject, chosen, name, fp32, ids, look)

        def make() -> Variant:
            if not (is_contest(recipe, self.conditions) or is_weighed(recipe)):
                return made(recipe)
            admitted = replace(fp32.admitted, subject=subject)
            choosing = nullcontext(NO_DRAWER)
            with self.cache.choice(admitted, recipe) if self.cache else choosing as drawer:
                if (plain := drawer.get()) is not None:
                    choice = Choice(**plain)
                    variant = made(choice.recipe(recipe))
                elif is_contest(recipe, self.conditions):
                    choice = self._contest(subject, recipe, fp32)
                    variant = made(choice.recipe(recipe))
                else:
                    variant, choice = weighed(
                        made(recipe), recipe, made, lambda static: self.variant(subject, static)
                    )
                drawer.put(asdict(choice))
            choice.tell(variant)
            return variant

        return self._look_up(subject, (recipe, name), recipe.kind, make)

    def _contest(self, subject: Subject, recipe: Recipe, fp32: Variant) -> Choice:
        return fastest(
            recipe,
            fp32,
            inputs_of(fp32, subject),
            lambda trial: self._made(subject, trial, trial.label, fp32, ""),
        )

    def release(self, identity: Hashable) -> None:
        """Forget all variants that depend on an input, so that their memory is free.

        Args:
            identity: of the input, as `Subject.identity_of` gives it.
        """
        with self._lock:
            if self.cache is not None:
                self.cache.release(identity)
            for key in list(self._alive):
                if identity in key[0]:
                    del self._alive[key]
                    self._variants.pop(key, None)

    def _made(
        self,
        subject: Subject,
        recipe: Recipe,
        name: str,
        fp32: Variant,
        ids: str,
        look: Callable[[Variant], None] | None = None,
    ) -> Variant:
        """The variant; `look` is given it before it is compiled."""
        admitted = replace(fp32.admitted, subject=subject)  # with its own data for tuning

        def variant_of(built: Built) -> Variant:
            return Variant(
                name,
                admitted,
                built.module,
                self._measures,
                recipe=built.recipe,
                ids=ids,
                fp32=fp32,
                fake_quantized=built.fake_quantized,
                tuned_on=built.tuned_on,
                seconds=built.seconds,
                notes=[shift.told, *built.notes] if shift else built.notes,
            )

        shift = shifted(fp32, subject, recipe)
        try:
            seen = () if look is None else (lambda built: look(variant_of(built)),)

            def make(admitted: Admitted, recipe: Recipe, conditions: Conditions) -> Built:
                return self._build(admitted, recipe, conditions, *seen)

            if self.cache is None:
                built = make(admitted, recipe, self.conditions)
            else:
                built = self.cache.build(make, admitted, recipe)
        except QuantStageError as error:
            if isinstance(error, UnwantedError):
                raise
            fp32.failures.add((recipe.kind, recipe.flow))
            if shift is None or error.stage == "fixture":
                raise
            raise QuantStageError(error.stage, f"{shift.sentence} {error.sentence}") from error
        shift = shift or shifted_in(fp32, subject, recipe, built.seen)
        fp32.failures.update((recipe.kind, flow) for flow in built.refused)
        variant = variant_of(built)
        variant.keep("shift", shift)
        variant.keep(BUILD, built.kept)
        return variant

    def _admitted(self, subject: Subject) -> Variant:
        with opened() as files, isolated(self.conditions, loaders=(subject.eval_data,)):
            admitted = admit(subject)
        fp32 = Variant("fp32", admitted, admitted.module, self._measures)
        fp32.keep("digest", weights_digest(admitted.module))
        if self.cache is not None:
            self.cache.admit(fp32, files)
        return fp32

    def _look_up(
        self, subject: Subject, what: tuple[Any, ...], kind: str, make: Callable[[], Variant]
    ) -> Variant:
        key = (subject.identity(kind), *what)
        with self._lock:
            if key not in self._variants:
                self._alive[key] = subject
                try:
                    self._variants[key] = make()
                except QuantStageError as error:
                    self._variants[key] = error
            found = self._variants[key]
        if isinstance(found, QuantStageError):
            raise found.again()
        return found
