"""Effects: what each layer's quantization does to its own output and to the model's."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from pytest_quant.errors import QuantStageError
from pytest_quant.explain.lost.as_built import AsBuilt, as_built
from pytest_quant.explain.lost.fault import Fault, FaultKind
from pytest_quant.explain.lost.faults import faults_of, faults_of_range
from pytest_quant.explain.lost.layer import OPERATION, Layer
from pytest_quant.explain.lost.noise import Noise, decibels, noise_share
from pytest_quant.explain.lost.range_fit import fits_of
from pytest_quant.explain.lost.simulate import simulated
from pytest_quant.explain.lost.simulation import Simulation
from pytest_quant.explain.lost.weighted import weight_of
from pytest_quant.measure.one_call import multiply_adds
from pytest_quant.subject.batches import call, size_of, taken, tensors_in
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.sqnr import sqnr
from pytest_quant.variant.variant import Variant

FEWEST = 4  # samples, if layers are many and forwards slow
FAR = 10.0  # dB; below it a layer's output is another one


@dataclass(frozen=True, slots=True)
class Effects:
    """What was measured of a variant.

    Args:
        layers: in the order of the network.
        operations: those without a weight that round.
        samples: that they were measured on.
        sqnr: of the outputs in dB, as in `Explanation`.
    """

    layers: tuple[Layer, ...]
    operations: tuple[Layer, ...]
    samples: int
    sqnr: dict[str, float | None]


def effects_in_float(variant: Variant, probe: Any, deadline: float) -> Effects:
    """Of a static or QAT variant, simulated.

    Args:
        probe: inputs.
        deadline: by `time.perf_counter`; of later layers the effect on the outputs is not measured.

    Raises:
        QuantStageError: when what QAT has trained cannot be told apart.
    """
    sqnrs: dict[str, float | None] = {}
    simulation = simulated(variant)
    if simulation is None:
        raise QuantStageError(
            "explain",
            "the weights that QAT has trained cannot be told apart by layer in this flow's graph.",
        )
    probe = _affordable(simulation, probe, deadline)
    reference = simulation.outputs(probe, simulation.without(simulation.layers))
    for name, switches in {
        "whole": simulation.without(),
        "weights": simulation.without(activations=False),
        "activations": simulation.without(weights=False),
    }.items():
        sqnrs[name] = decibels(noise_share(reference, simulation.outputs(probe, switches)))
    sqnrs["built"] = _try(lambda: decibels(noise_share(reference, _as_built(variant, probe))))
    assert variant.recipe is not None  # FP32 alone has none
    layers = measured_layers(variant, simulation, variant.recipe, probe, deadline)
    operations = _measured_operations(simulation, probe, deadline)
    shared = with_shares([*layers, *operations])
    count = len(layers)
    return Effects(shared[:count], shared[count:], size_of(probe), sqnrs)


def _as_built(variant: Variant, probe: Any) -> list[Any]:
    """What the built model itself makes of these samples, repeated to as many as the first eval batch has:
    flow pt2e compiles for the size of the first batch that it sees."""
    count = size_of(probe)
    whole = taken(probe, size_of(variant.admitted.first_inputs)) if count else probe
    with variant.running():
        outputs = call(variant.model, whole, variant.subject.forward)
    return [taken(tensor, count) for tensor in tensors_in(outputs)]


def effects_in_place(variant: Variant, probe: Any, deadline: float) -> Effects:
    """Of a dynamic, weight-only or custom variant, whose layers are put into FP32 as they are.

    Raises:
        QuantStageError: when its layers cannot be told apart.
    """
    sqnrs: dict[str, float | None] = {"weights": None, "activations": None}
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
                sum(parameter.numel() for parameter in module.parameters(recurse=False)),
                macs.get(name, 0),
                sqnr=noise if noise is not None and math.isfinite(noise) else None,
                effect=effect,
                faults=(Fault(FaultKind.FAR_OUTPUT),) if noise is not None and noise < FAR else (),
            )
        )
    return Effects(with_shares(layers), (), size_of(probe), sqnrs)


def _effect(built: AsBuilt, name: str, probe: Any, reference: Any) -> float:
    with built.variant.running(), built.alone(name) as model:
        outputs = call(model, probe, built.variant.subject.forward)
    return noise_share(reference, outputs)


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
        weight = sqnr(weight_of(module).detach(), simulation.weights[name])
        own = [fit for site, fit in fits.items() if site[0] == name]
        layers.append(
            Layer(
                name,
                type(module).__name__,
                sum(parameter.numel() for parameter in module.parameters(recurse=False)),
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


def _measured_operations(simulation: Simulation, probe: Any, deadline: float) -> list[Layer]:
    """Each operation without a weight that rounds, alone."""
    reference = simulation.outputs(probe, simulation.without(simulation.layers))
    fits, found = fits_of(simulation, probe), list[Layer]()
    often = Counter(site[1] for site in simulation.operations)
    for site in simulation.operations:
        if time.perf_counter() > deadline:
            break
        outputs = simulation.outputs(probe, simulation.alone_at(site))
        _, name, call_number = site
        name = name.strip("_")
        called = f"{name} {call_number + 1}" if often[site[1]] > 1 else name
        fit = fits.get(site)
        found.append(
            Layer(
                called,
                OPERATION,
                saturated=None if fit is None else fit.saturated,
                used=None if fit is None else fit.used,
                effect=noise_share(reference, outputs),
                faults=faults_of_range([] if fit is None else [fit]),
            )
        )
    return found


def _affordable(simulation: Simulation, probe: Any, deadline: float) -> Any:
    """As many of the samples as every layer can be measured on in time."""
    start = time.perf_counter()
    simulation.outputs(probe, simulation.without())
    forward = time.perf_counter() - start
    places = len(simulation.layers) + len(simulation.operations)
    needed, left = forward * (places + 5), deadline - time.perf_counter()
    if needed <= left:
        return probe
    return taken(probe, max(min(FEWEST, size_of(probe)), int(size_of(probe) * left / needed)))


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


def _try(run: Callable[[], Any]) -> Any:
    try:
        return run()
    except Exception:  # int8 layers that take int8 inputs cannot stand alone in FP32
        return None
