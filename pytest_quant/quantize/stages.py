"""Stages: each part of a variant's making with its name and time, up to a model that runs."""

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.quantize.flows.flow import FlowRefusal
from pytest_quant.subject.batches import call, tensors_in
from pytest_quant.subject.subject import Admitted
from pytest_quant.variant.facts import Facts
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.running import running_as_built


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
    state = torch.get_rng_state()
    try:
        with running_as_built(converted, recipe, facts):
            outputs = call(converted, admitted.first_inputs, admitted.subject.forward)
            again = call(converted, admitted.first_inputs, admitted.subject.forward)
    except QuantStageError:
        raise
    except Exception as error:
        raise FlowRefusal(
            "convert", recipe.flow, f"made of quant_model what cannot run: {in_brief(error)}"
        ) from error
    is_random = not torch.equal(state, torch.get_rng_state())
    if is_random or not all(map(_is_same, tensors_in(outputs), tensors_in(again))):
        raise FlowRefusal(
            "convert",
            recipe.flow,
            "made of quant_model what differs from itself: "
            + (
                "it draws random numbers" if is_random else "two runs on one batch gave two outputs"
            ),
        )


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


def _is_same(first: Any, second: Any) -> bool:
    """Whether two runs agree, but for the last bits, which may depend on threads."""
    if not first.is_floating_point():
        return bool(torch.equal(first, second))
    scale = float(first.abs().max()) if first.numel() else 0.0
    return bool(torch.allclose(first, second, rtol=0.0, atol=1e-4 * scale, equal_nan=True))
