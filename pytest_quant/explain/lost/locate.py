"""Locate: the layers in which a variant loses what it loses."""

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch

from pytest_quant.batches import call, each_batch, inputs_only, on_cpu, size_of, taken
from pytest_quant.conditions import isolated
from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.explain.lost.activations import fits_of
from pytest_quant.explain.lost.as_built import AsBuilt, as_built
from pytest_quant.explain.lost.explanation import Explanation
from pytest_quant.explain.lost.faults import faults_of
from pytest_quant.explain.lost.layer import Layer
from pytest_quant.explain.lost.sentences import sentences_on
from pytest_quant.explain.lost.simulation import (
    Noise,
    Simulation,
    in_float,
    noise_share,
    simulation_of,
)
from pytest_quant.explain.lost.trained import trained_module
from pytest_quant.measure.int8_share import multiply_adds
from pytest_quant.measure.sqnr import sqnr
from pytest_quant.quantize.calibrate import calibration_source
from pytest_quant.quantize.equalize import equalize
from pytest_quant.quantize.flows.example import example_of
from pytest_quant.recipe import Recipe
from pytest_quant.variant import Variant

SAMPLES = 32  # of the first eval batch, that noise is measured on
SECONDS = 120.0  # layers that are not measured by then are ranked by their own noise


def explain(variant: Variant, *, samples: int = SAMPLES, seconds: float = SECONDS) -> Explanation:
    """Where a variant loses what it loses: its layers, ranked by what each alone costs the outputs.

    Of static and QAT variants each layer's rounding is simulated in float, alone and on FP32's own
    inputs, with ranges observed as the recipe says; layers of dynamic, weight-only and custom
    variants are put into FP32 as they are, one at a time. Noise is measured on the first eval batch,
    so that ranges which calibration has missed show; labels are not used. Made once and kept.

    Args:
        variant: a quantized one.
        samples: of the first eval batch, at most.
        seconds: after which no further layer is measured by its effect on the outputs.

    Raises:
        TypeError: for FP32, and for what is no Variant.
        QuantStageError: when the model cannot be looked into; says why.
    """
    if not isinstance(variant, Variant) or variant.is_fp32:
        raise TypeError(f"explain was given {variant!r}; expected a quantized Variant")
    return variant.once("explanation", lambda: _explained(variant, samples, seconds), "explain")


def _explained(variant: Variant, samples: int, seconds: float) -> Explanation:
    start = time.perf_counter()
    first = variant.admitted.first_inputs
    probe = taken(first, min(samples, size_of(first))) if size_of(first) else first
    notes: list[str] = []
    sqnrs: dict[str, float | None] = {"whole": None, "weights": None, "activations": None}
    deadline = start + seconds
    kind = variant.recipe.kind if variant.recipe else ""
    with isolated(variant.conditions, loaders=_loaders(variant)), in_float():
        try:
            if kind in ("static", "qat"):
                layers = _simulated(variant, probe, sqnrs, notes, deadline)
            elif kind == "cast":
                raise QuantStageError(
                    "explain", "a cast model has no layer that is quantized alone"
                )
            else:
                layers = _swapped(variant, probe, sqnrs, notes, deadline)
        except QuantStageError:
            raise
        except Exception as error:
            raise QuantStageError(
                "explain", f"{variant.name} could not be looked into: {in_brief(error)}"
            ) from error
    explanation = Explanation(
        variant.name,
        variant.subject.label,
        variant.subject.where,
        with_shares(layers),
        sqnrs,
        size_of(probe),
        time.perf_counter() - start,
        notes=tuple(notes),
    )
    return sentences_on(explanation, variant)


def simulated(variant: Variant, recipe: Recipe | None = None) -> Simulation | None:
    """The variant's model in float with switches; None for QAT whose weights cannot be told apart.

    Args:
        recipe: other settings of observers and scales than the variant's own.
    """
    if recipe in (None, variant.recipe):
        return variant.once("simulation", lambda: _simulation(variant, variant.recipe))
    return _simulation(variant, recipe)


def _simulation(variant: Variant, recipe: Recipe | None) -> Simulation | None:
    names = became_int8(variant)
    if variant.recipe is not None and variant.recipe.kind == "qat":
        module = trained_module(variant, names)
    else:
        module = copy.deepcopy(variant.fp32.model)
    if module is None or recipe is None:
        return None
    samples = variant.recipe.calibration_samples if variant.recipe else 200
    inputs = tuned_inputs(variant, samples)
    with isolated(variant.conditions, loaders=_loaders(variant)):
        if recipe.equalize:
            equalize(module, example_of(module, variant.admitted))
        return simulation_of(module, variant.subject, recipe, names, inputs)


def became_int8(variant: Variant) -> tuple[str, ...]:
    """Names of FP32's layers that the variant has in int8."""
    stayed = set(variant.int8_share.stayed_fp32)
    norms = torch.nn.modules.batchnorm._BatchNorm
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
    for batch in each_batch(data, fixture):
        inputs = on_cpu(inputs_only(batch, fixture, subject.batch))
        count = min(size_of(inputs), samples - done) or 1
        yield taken(inputs, count)
        done += count
        if done >= samples:
            return


def _simulated(
    variant: Variant,
    probe: Any,
    sqnrs: dict[str, float | None],
    notes: list[str],
    deadline: float,
) -> list[Layer]:
    simulation = simulated(variant)
    if simulation is None:
        raise QuantStageError(
            "explain",
            "the weights that QAT has trained cannot be told apart by layer in this flow's graph.",
        )
    reference = simulation.outputs(probe, simulation.without(simulation.layers))
    for name, switches in {
        "whole": simulation.without(),
        "weights": simulation.without(activations=False),
        "activations": simulation.without(weights=False),
    }.items():
        sqnrs[name] = decibels(noise_share(reference, simulation.outputs(probe, switches)))
    assert variant.recipe is not None  # FP32 alone has none
    layers = measured_layers(variant, simulation, variant.recipe, probe, deadline)
    _note_unmeasured(layers, notes)
    return layers


def measured_layers(
    variant: Variant,
    simulation: Simulation,
    recipe: Recipe,
    probe: Any,
    deadline: float = math.inf,
) -> list[Layer]:
    """Each layer of a simulation, alone.

    Args:
        recipe: that the simulation is of.
        probe: inputs.
        deadline: by `time.perf_counter`; of later layers the effect on the outputs is not measured.
    """
    reference = simulation.outputs(probe, simulation.without(simulation.layers))
    fits = fits_of(simulation, probe)
    macs = multiply_adds(variant)
    layers = []
    for name, module in simulation.layers.items():
        effect, noise = None, Noise()
        if time.perf_counter() < deadline:
            outputs = simulation.outputs(probe, simulation.alone(name), noise)
            effect = noise_share(reference, outputs)
        weight = sqnr(module.weight.detach(), simulation.weights[name])
        own = [fit for site, fit in fits.items() if site[0] == name]
        layers.append(
            Layer(
                name,
                type(module).__name__,
                sum(parameter.numel() for parameter in module.parameters()),
                macs.get(name, 0),
                sqnr=decibels(noise.noise / noise.signal) if noise.signal else None,
                weight_sqnr=weight if math.isfinite(weight) else None,
                saturated=max((fit.saturated for fit in own), default=None),
                used=min((fit.used for fit in own), default=None),
                effect=effect,
                faults=faults_of(
                    module,
                    own,
                    per_channel=recipe.per_channel,
                    weight_sqnr=weight,
                    scale=simulation.scales.get(name),
                ),
            )
        )
    return layers


def _swapped(
    variant: Variant,
    probe: Any,
    sqnrs: dict[str, float | None],
    notes: list[str],
    deadline: float,
) -> list[Layer]:
    built = as_built(variant)
    if built is None:
        raise QuantStageError(
            "explain", f"{variant.name} is one piece, in which no layer can be told from another."
        )
    own = variant.subject.forward
    reference = call(variant.fp32.model, probe, own)
    with variant.running():
        sqnrs["whole"] = _try(
            lambda: decibels(noise_share(reference, call(variant.model, probe, own)))
        )
    local, macs = built.local_sqnr(probe), multiply_adds(variant)
    layers = []
    for name in built.chains:
        module = variant.fp32.model.get_submodule(name)
        effect = None
        if time.perf_counter() < deadline:
            effect = _try(lambda name=name: _effect(built, name, probe, reference))  # type: ignore[misc]
        noise = local.get(name)
        layers.append(
            Layer(
                name,
                type(module).__name__,
                sum(parameter.numel() for parameter in module.parameters()),
                macs.get(name, 0),
                sqnr=noise if noise is not None and math.isfinite(noise) else None,
                effect=effect,
                faults=("its output is far from FP32's",)
                if noise is not None and noise < 10
                else (),
            )
        )
    _note_unmeasured(layers, notes)
    return layers


def _effect(built: AsBuilt, name: str, probe: Any, reference: Any) -> float:
    with built.variant.running():
        outputs = call(built.alone(name), probe, built.variant.subject.forward)
    return noise_share(reference, outputs)


def decibels(share: float) -> float | None:
    """A noise share in power as a signal-to-noise ratio; None where there is no noise, or only noise."""
    return -10 * math.log10(share) if 0 < share < math.inf else None


def _try(run: Callable[[], Any]) -> Any:
    try:
        return run()
    except Exception:  # int8 layers that take int8 inputs cannot stand alone in FP32
        return None


def with_shares(layers: Iterable[Layer]) -> tuple[Layer, ...]:
    """The layers, each with its share of the sum of their effects."""
    layers = tuple(layers)
    total = sum(layer.effect or 0.0 for layer in layers)
    if not 0 < total < math.inf:
        return layers
    return tuple(
        replace(layer, share=None if layer.effect is None else layer.effect / total)
        for layer in layers
    )


def _note_unmeasured(layers: list[Layer], notes: list[str]) -> None:
    missing = sum(layer.effect is None for layer in layers)
    if missing:
        notes.append(
            f"the effect of {missing} of {len(layers)} layers on the outputs was not measured; they "
            "are ranked by the noise in their own output"
        )


def _loaders(variant: Variant) -> tuple[Any, ...]:
    subject = variant.subject
    return subject.calibration_data, subject.train_data, subject.eval_data
