"""First that can: of several methods the first that takes a model, and why those before it could not."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pytest_quant.errors import QuantStageError
from pytest_quant.machine.conditions import Conditions
from pytest_quant.machine.engines import engine_for
from pytest_quant.quantize.built import Built
from pytest_quant.quantize.flows.example import Example
from pytest_quant.quantize.flows.flow import FlowRefusal, refuse
from pytest_quant.quantize.layer_observers import LayerObservers
from pytest_quant.quantize.method import Attempt
from pytest_quant.quantize.tuning import Tuning
from pytest_quant.subject.subject import Admitted
from pytest_quant.variant.facts import Facts
from pytest_quant.variant.recipe import Recipe


@dataclass(frozen=True, slots=True)
class FirstThatCan:
    """The method of flow ``auto``.

    Args:
        methods: to try, by the names of their flows; the first is the usual one.
        order: the names of those to try on a module, in order.
        tuning: of all of them.
    """

    methods: Mapping[str, Attempt]
    order: Callable[[Any], tuple[str, ...]]
    tuning: Tuning | None = None

    def make(self, admitted: Admitted, recipe: Recipe, conditions: Conditions) -> Built:
        """As the protocol says. What the data or the training is to blame for fails at once.

        Raises:
            QuantStageError: when no method can: each one's reason.
        """
        engine = engine_for(recipe.engine or conditions.engine)
        if self.tuning is not None:
            self.tuning.check(admitted, recipe)
        refused: dict[str, QuantStageError] = {}
        for name in self.order(admitted.module):
            method = self.methods[name]
            try:
                refuse(name, method.refusal(admitted.module, recipe))
                built = method.attempt(admitted, recipe, engine, conditions)
            except QuantStageError as error:
                if _is_of_the_data(error):
                    raise
                refused[name] = error
                continue
            notes = (*built.notes, *_notes(name, refused))
            return replace(built, notes=notes, refused=tuple(refused))
        raise _none_of(refused)

    def rebuild(self, module: Any, recipe: Recipe, example: Example) -> Any:
        """As the usual one, since a variant that was saved names its flow."""
        return self._usual.rebuild(module, recipe, example)

    def facts(self, recipe: Recipe) -> Facts:
        """As the protocol says."""
        return self._usual.facts(recipe)

    def observers(self, recipe: Recipe) -> LayerObservers | None:
        """As the usual one."""
        return self._usual.observers(recipe)

    @property
    def _usual(self) -> Attempt:
        return next(iter(self.methods.values()))


def _is_of_the_data(error: QuantStageError) -> bool:
    return not isinstance(error, FlowRefusal) and error.stage in ("fixture", "calibrate", "train")


def _notes(flow: str, refused: Mapping[str, QuantStageError]) -> tuple[str, ...]:
    if not refused:
        return ()
    reasons = "; ".join(_reason(*item) for item in refused.items())
    return (f"quantized by flow {flow}, since {reasons}",)


def _none_of(refused: Mapping[str, QuantStageError]) -> QuantStageError:
    if len(refused) == 1:
        return next(iter(refused.values()))
    sentences = " ".join(_sentence(*item) for item in refused.items())
    return QuantStageError("prepare", f"no flow takes quant_model. {sentences}")


def _reason(flow: str, error: QuantStageError) -> str:
    return getattr(error, "reason", f"{flow} failed: {error.sentence.rstrip('.')}")


def _sentence(flow: str, error: QuantStageError) -> str:
    if isinstance(error, FlowRefusal):
        return error.sentence
    return f"flow {flow} failed: {error.sentence.rstrip('.')}."
