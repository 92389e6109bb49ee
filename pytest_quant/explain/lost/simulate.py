"""Simulate: the float model that behaves as a static or QAT variant does, layer by layer."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pytest_quant.errors import QuantStageError
from pytest_quant.explain.lost.observed import simulations_of
from pytest_quant.explain.lost.simulation import Simulation
from pytest_quant.explain.lost.trained import trained_module
from pytest_quant.machine import torch_api
from pytest_quant.quantize.calibrate import calibration_source
from pytest_quant.quantize.equalize import equalize
from pytest_quant.quantize.flows.example import example_of
from pytest_quant.subject.batches import each_batch, inputs_only, on_cpu, size_of, taken
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.variant import Variant


def simulated(variant: Variant) -> Simulation | None:
    """The variant's model in float with switches; None for QAT whose weights cannot be told apart."""

    def made() -> Simulation | None:
        return None if variant.recipe is None else _simulations(variant, [variant.recipe])[0]

    return variant.once("simulation", made)


def simulations(variant: Variant, recipes: Sequence[Recipe]) -> list[Simulation | None]:
    """The variant's model under each of some recipes with other observers, scales or engines.

    Calibration data passes the model once for all of them, and once more for those that equalize.
    None stands where QAT's weights cannot be told apart, and where there are no layers to equalize.
    """
    found: dict[Recipe, Simulation | None] = {}
    groups = [[r for r in recipes if r.equalize == equalized] for equalized in (False, True)]
    while groups:
        some = groups.pop()
        try:
            found |= dict(zip(some, _simulations(variant, some), strict=True)) if some else {}
        except QuantStageError:
            if len(some) == 1:
                found[some[0]] = None
            else:  # one of them is at fault
                groups += [[recipe] for recipe in some]
    return [found[recipe] for recipe in recipes]


def simulation_on(variant: Variant, inputs: Iterable[Any]) -> Simulation | None:
    """As `simulated`, but with the ranges that other inputs give."""
    return None if variant.recipe is None else _simulations(variant, [variant.recipe], inputs)[0]


def _simulations(
    variant: Variant, recipes: Sequence[Recipe], inputs: Iterable[Any] | None = None
) -> Sequence[Simulation | None]:
    names = became_int8(variant)
    trains, fp32 = variant.facts.trains, variant.fp32.model
    module = trained_module(variant, names) if trains else copy.deepcopy(fp32)
    if module is None:
        return [None] * len(recipes)
    if inputs is None:
        samples = variant.recipe.calibration_samples if variant.recipe else 200
        inputs = tuned_inputs(variant, samples)
    with variant.isolated(loaders_of(variant)):
        if recipes[0].equalize:
            equalize(module, example_of(module, variant.admitted))
        return simulations_of(module, variant.subject, recipes, names, inputs)


def became_int8(variant: Variant) -> tuple[str, ...]:
    """Names of FP32's layers that the variant has in int8."""
    stayed = set(variant.int8_share.stayed_fp32)
    norms = torch_api.batchnorm_base()
    return tuple(
        name
        for name, child in variant.fp32.model.named_modules()
        if name not in stayed
        and not isinstance(child, norms)
        and any(True for _ in child.parameters(recurse=False))
    )


def tuned_inputs(variant: Variant, samples: int) -> Iterator[Any]:
    """Inputs of the data that the variant was calibrated or trained on; of the first eval batch where
    a training loop of the user's own hides its data."""
    subject = variant.subject
    try:
        fixture, data = calibration_source(subject)
    except QuantStageError:
        yield variant.admitted.first_inputs
        return
    done = 0
    like = variant.admitted.first_inputs
    for batch in each_batch(data, fixture, subject.batch, like=like):
        inputs = on_cpu(inputs_only(batch, fixture, subject.batch))
        count = min(size_of(inputs), samples - done) or 1
        yield taken(inputs, count)
        done += count
        if done >= samples:
            return


def loaders_of(variant: Variant) -> tuple[Any, ...]:
    """All data of a variant's Subject, whose generators are to be left as they are."""
    subject = variant.subject
    return subject.calibration_data, subject.train_data, subject.eval_data
