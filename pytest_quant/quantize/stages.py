"""Stages: each part of a variant's making with its name and time, up to a model that runs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.quantize.flows.flow import FlowRefusal
from pytest_quant.subject.batches import call
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
        FlowRefusal: when it cannot run.
    """
    try:
        with running_as_built(converted, recipe, facts):
            call(converted, admitted.first_inputs, admitted.subject.forward)
    except QuantStageError:
        raise
    except Exception as error:
        raise FlowRefusal(
            "convert", recipe.flow, f"made of quant_model what cannot run: {in_brief(error)}"
        ) from error
