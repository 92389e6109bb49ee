"""Stages: each part of a variant's making with its name and time, up to a model that runs."""

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.quantize.flows.flow import FlowRefusal
from pytest_quant.subject.batches import call
from pytest_quant.subject.door import MOVED, distance
from pytest_quant.subject.kept_state import why_unlike
from pytest_quant.subject.output_form import refuse_other_form
from pytest_quant.subject.output_numbers import numbers_in
from pytest_quant.subject.subject import Admitted
from pytest_quant.variant.facts import Facts
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.running import running_as_built

RANDOM = "it draws random numbers"


@contextmanager
def stage(name: str, seconds: dict[str, float]) -> Iterator[None]:
    """Time a stage, and give an unforeseen error the stage's name."""
    start = time.perf_counter()
    try:
        yield
    except QuantStageError:
        raise
    except Exception as error:
        raise QuantStageError(name, f"quant_model could not be taken: {in_brief(error)}") from error
    finally:
        seconds[name] = time.perf_counter() - start


def refuse_what_cannot_run(
    converted: Any, admitted: Admitted, recipe: Recipe, facts: Facts
) -> None:
    """Run the first batch, which also compiles what is to be compiled.

    Raises:
        FlowRefusal: when it cannot run, or gives other outputs when it runs again.
    """
    try:
        why = differs_from_itself(converted, admitted, recipe, facts)
    except QuantStageError:
        raise
    except Exception as error:
        raise FlowRefusal(
            "convert", recipe.flow, f"made of quant_model what cannot run: {in_brief(error)}"
        ) from error
    if why:
        raise FlowRefusal(
            "convert", recipe.flow, f"made of quant_model what differs from itself: {why}"
        )


def differs_from_itself(made: Any, admitted: Admitted, recipe: Recipe, facts: Facts) -> str | None:
    """Why two runs on the first batch differ, or might, in half a sentence; None where they agree.

    Raises:
        QuantStageError: when its outputs are of a form that cannot be compared.
    """

    def run(model: Any) -> Any:
        with running_as_built(model, recipe, facts):
            return call(model, admitted.first_inputs, admitted.subject.forward)

    drawn = torch.get_rng_state()
    outputs, again = run(made), run(made)
    refuse_other_form(outputs, f"the {recipe.kind} variant", "convert")
    if not torch.equal(torch.get_rng_state(), drawn):
        return RANDOM
    if distance([*numbers_in(outputs)], [*numbers_in(again)]) > MOVED:
        why = why_unlike(made, run)
        return (
            RANDOM if why.is_random else f"two runs on one batch gave two outputs, since {why.what}"
        )
    return None


def refuse_what_cannot_train(prepared: Any, admitted: Admitted, recipe: Recipe) -> None:
    """Run a copy of a prepared model in train mode, as training will.

    Raises:
        FlowRefusal: when it cannot run on the first eval batch, though FP32 can.
    """

    def run(model: Any) -> None:
        call(copy.deepcopy(model).train(), admitted.first_inputs, admitted.subject.forward)

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            run(prepared)
        except Exception as error:
            try:
                run(admitted.module)
            except Exception:
                return  # what has one sample, say, is nothing to train BatchNorm on
            raise FlowRefusal(
                "prepare", recipe.flow, f"prepared what cannot train: {in_brief(error)}"
            ) from error
