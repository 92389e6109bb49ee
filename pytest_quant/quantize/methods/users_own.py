"""Users' own: the method of ``custom``, whose build the recipe brings."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from pytest_quant.errors import QuantStageError, in_brief, listed
from pytest_quant.machine.conditions import Conditions, engine_set
from pytest_quant.machine.engines import engine_for
from pytest_quant.machine.global_state import given_back
from pytest_quant.quantize.batch_mates import refuse_mates
from pytest_quant.quantize.built import Built
from pytest_quant.quantize.flows.example import Example
from pytest_quant.quantize.layer_observers import LayerObservers
from pytest_quant.quantize.same_form import refuse_another_form
from pytest_quant.quantize.stages import RANDOM, differs_from_itself, stage
from pytest_quant.quantize.tuned import Tuned
from pytest_quant.quantize.watch import watching
from pytest_quant.subject.batches import described
from pytest_quant.subject.subject import Admitted
from pytest_quant.variant.facts import Facts, Ranges
from pytest_quant.variant.recipe import Recipe


@dataclass(frozen=True, slots=True)
class UsersOwn:
    """Of what it makes nothing is known but that it can be called."""

    def make(self, admitted: Admitted, recipe: Recipe, conditions: Conditions) -> Built:
        """As the protocol says."""
        recipe = replace(recipe, engine=engine_for(recipe.engine or conditions.engine))
        seconds = dict[str, float]()
        with engine_set(str(recipe.engine)):
            module = copy.deepcopy(admitted.module)
            with stage("convert", seconds):
                made, tuned = _made(module, admitted, recipe)
            if not callable(made) or isinstance(made, type):
                raise QuantStageError(
                    "convert",
                    f"the recipe's build returned {_what(made)}; expected the quantized model, a "
                    "callable that takes the FP32 model's inputs.",
                )
            if hasattr(made, "eval") and _trains(made):
                made.eval()
            refuse_another_form(made, admitted, recipe, self.facts(recipe))
            if why := _differs(made, admitted, recipe, self.facts(recipe)):
                remedy = (
                    "put it into eval mode, and leave out what is random"
                    if why == RANDOM
                    else "let each call start anew, and observers observe no more (disable_observer)"
                )
                raise QuantStageError(
                    "convert",
                    f"the recipe's build made what differs from itself: {why}, so that no measurement "
                    f"would hold; {remedy}.",
                )
            mates = refuse_mates(made, admitted, recipe, self.facts(recipe))
        return Built(
            made,
            recipe,
            tuned_on=tuned.on,
            seconds=seconds,
            notes=(*tuned.notes, *mates),
            seen=tuned.seen,
        )

    def rebuild(self, module: Any, recipe: Recipe, example: Example) -> Any:
        """There is no file of such a variant."""
        raise QuantStageError("load", "its build is the user's")

    def facts(self, recipe: Recipe) -> Facts:
        """As the protocol says."""
        return Facts(recipe.kind, Ranges.UNKNOWN)

    def observers(self, recipe: Recipe) -> LayerObservers | None:
        """There are none."""
        return None


def _differs(made: Any, admitted: Admitted, recipe: Recipe, facts: Facts) -> str | None:
    """As `differs_from_itself`; what cannot run once more is told with the stage that needs it."""
    try:
        return differs_from_itself(made, admitted, recipe, facts)
    except QuantStageError:
        raise
    except Exception:
        return None


def _what(made: Any) -> str:
    """On one line, whatever it holds."""
    if isinstance(made, type):
        return f"the class {made.__name__}, not an instance of it"
    if isinstance(made, Mapping):
        return f"a {type(made).__name__} with {listed(made, 3, counted=True)}"
    if isinstance(made, tuple | list):
        kinds = listed((type(each).__name__ for each in made), 4)
        return f"{described(made)} ({kinds})"
    said = repr(made)
    return said if len(said) <= 60 and "\n" not in said else described(made)


def _trains(made: Any) -> bool:
    """Whether it is in train mode, or a part of it, as a layer that the build has put in."""
    modules = made.modules() if isinstance(made, torch.nn.Module) else [made]
    return any(getattr(each, "training", False) for each in modules)


def _made(module: Any, admitted: Admitted, recipe: Recipe) -> tuple[Any, Tuned]:
    """What the build makes of a copy, and what inputs it was seen to give to modules."""
    assert recipe.build is not None  # a custom Recipe has one
    try:
        with given_back(), watching(admitted) as watch:
            made = recipe.build(module)
        seen = frozenset(watch.learned | watch.looked_at)
        most = max(watch.seen.values(), key=lambda each: each.samples)
        return made, Tuned(seen, tuple(watch.notes("its build")), seen=most)
    except Exception as error:
        raise QuantStageError("convert", f"the recipe's build raised: {in_brief(error)}") from error
