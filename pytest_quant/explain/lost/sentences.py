"""Sentences: what an explanation comes to, for a person who knows pytest and not quantization."""

import copy
from dataclasses import replace

from pytest_quant.errors import QuantStageError
from pytest_quant.explain.lost.explanation import Explanation
from pytest_quant.explain.lost.fault import UNEQUAL, Fault
from pytest_quant.explain.lost.layer import OPERATION, Layer
from pytest_quant.explain.other_flows import other_flows
from pytest_quant.machine.cpu import has_vnni
from pytest_quant.machine.engines import must_reduce_range
from pytest_quant.quantize.equalize import equalize
from pytest_quant.quantize.flows.example import example_of
from pytest_quant.quantize.names import kept
from pytest_quant.variant.variant import Variant

CLEAR = 6.0  # dB, a bit: what counts as more than the rest
MOST = 0.8  # of the noise is worth naming the layers that make it
FEW_DB = 15.0  # below it the outputs are others
FAR_MORE = 10.0  # times the noise of all layers
HALF = 0.5  # of the noise: an operation that makes so much is the cause
JOINING = ("cat", "concat", "stack")
CLEAN = 30.0  # dB; at which a classifier seldom changes its mind


def sentences_on(explanation: Explanation, variant: Variant) -> Explanation:
    """The explanation with its sentences."""
    if is_another_model(explanation):  # of which the layers' rounding says nothing
        found = [_otherwise(explanation, variant)]
    elif is_between(explanation):
        found = [_between(explanation)]
    else:
        found = [
            *_worst(explanation),
            *_side(explanation, variant),
            *_range(explanation, variant),
        ]
    return replace(explanation, sentences=tuple(found))


def is_another_model(explanation: Explanation) -> bool:
    """Whether the built model is not what its layers' rounding makes of FP32."""
    built, whole = explanation.sqnr.get("built"), explanation.sqnr["whole"]
    if built is None or whole is None:
        return False
    return built <= CLEAN and built + CLEAR <= whole


def is_between(explanation: Explanation) -> bool:
    """Whether a model whose layers were looked at as they are loses far more than all of these."""
    whole, layers = explanation.sqnr["whole"], explanation.layers
    if "built" in explanation.sqnr or whole is None or whole > FEW_DB or not layers:
        return False
    effects = [layer.effect for layer in layers if layer.effect is not None]
    if len(effects) == len(layers):
        return 10 ** (-whole / 10) > FAR_MORE * sum(effects)
    own = [layer.sqnr for layer in layers if layer.sqnr is not None]
    return len(own) == len(layers) and min(own) > CLEAN


def _between(explanation: Explanation) -> str:
    return (
        f"The loss is not in the layers: the outputs keep {explanation.sqnr['whole']:.0f} dB, and each "
        "layer by itself far more. Look at what is between them: a concatenation or an addition of values "
        "of several scales shares one range, in which the small ones are lost. Those operations in FP32, "
        "or another flow, may help."
    )


def _otherwise(explanation: Explanation, variant: Variant) -> str:
    built, whole = explanation.sqnr["built"], explanation.sqnr["whole"]
    flows = [] if variant.recipe is None else [r.flow for r in other_flows(variant, variant.recipe)]
    other = f"another flow ({', '.join(flows)}) or engine" if flows else "another engine"
    return (
        f"Rounding alone does not explain the loss: the outputs of the model as built keep {built:.0f} dB, "
        f"and rounding its layers would leave {whole:.0f} dB. The conversion changed what it computes, "
        "which can happen to in-place operations and to layers that are called twice, or an int8 kernel "
        f"computes something else: try {other}."
    )


def worst_layers(explanation: Explanation) -> list[str]:
    """The names of the layers that make most of the noise; empty where none stands out."""
    names, _ = _noisiest(explanation)
    layers = {layer.name for layer in explanation.layers}
    if len(names) > _few(explanation) or is_operation(explanation):
        return []
    if layers <= set(names):  # with all of them in FP32 nothing is quantized
        return []
    return [name for name in names if name in layers]


def is_operation(explanation: Explanation) -> bool:
    """Whether what costs most is no layer, but an operation without a weight."""
    first = next(iter(explanation.costly), None)
    return first is not None and first.type == OPERATION and (first.share or 0.0) >= HALF


def _of_operation(operation: Layer) -> str:
    why = f" ({'; '.join(operation.words)})" if operation.faults else ""
    joins = (
        "what it joins shares one range, in which small values are lost"
        if operation.name.startswith(JOINING)
        else "its result has one range, in which small values are lost"
    )
    return (
        f"{operation.name}, an operation without a weight, makes {100 * (operation.share or 0):.0f} % of "
        f"the noise in the outputs{why}: {joins}. Keeping a layer in FP32 does not help; another flow, "
        "or values of one scale, may."
    )


def _noisiest(explanation: Explanation) -> tuple[list[str], float]:
    """The layers that make most of the noise, and how much."""
    names, total = list[str](), 0.0
    for layer in explanation.costly:
        if layer.share and total < MOST:
            names.append(layer.name)
            total += layer.share
    return names, total


def _few(explanation: Explanation) -> int:
    return max(3, len(explanation.layers) // 5)


def _worst(explanation: Explanation) -> list[str]:
    ranked = [layer for layer in explanation.costly if layer.share]
    if not ranked:
        return []
    names, total = _noisiest(explanation)
    count = len(explanation.layers)
    among = f"{count} layers"
    if not {layer.name for layer in explanation.layers}.issuperset(names):
        among = f"{count + len(explanation.operations)} layers and operations"
    if ranked[0].type == OPERATION and (ranked[0].share or 0.0) >= HALF:
        return [_of_operation(ranked[0])]
    if len(names) > _few(explanation):
        return [
            f"No layer stands out: {len(names)} of {among} make {100 * total:.0f} % of the noise."
        ]
    first = ranked[0]
    why = f" ({'; '.join(first.words)})" if first.faults else ""
    if len(names) == 1:
        return [f"{first.name} makes {100 * total:.0f} % of the noise in the outputs{why}."]
    rest = ", ".join(names[1:])
    return [
        f"{len(names)} of {among} make {100 * total:.0f} % of the noise in the outputs: "
        f"{first.name}{why}, {rest}."
    ]


def _side(explanation: Explanation, variant: Variant) -> list[str]:
    """Weights or activations, and what helps against either."""
    weights, activations = explanation.sqnr["weights"], explanation.sqnr["activations"]
    recipe = variant.recipe
    if is_operation(explanation):
        return []
    if weights is None or activations is None or recipe is None or not variant.facts.is_known:
        return []
    pair = f"weights alone {weights:.0f} dB, activations alone {activations:.0f} dB"
    if weights + CLEAR < activations:
        remedy = (
            "use one scale for each channel: per_channel=True"
            if not recipe.per_channel
            else "keep the worst layers in FP32 (keep_fp32), or train with QAT"
        )
        return [f"Rounding the weights costs most ({pair}): {remedy}."]
    if activations + CLEAR < weights:
        others = "more typical calibration samples, or the worst layers in FP32 (keep_fp32)"
        if not variant.facts.is_settled:
            others = f"other observers, {others}"
        if is_unequal(explanation) and could_equalize(variant):
            others = f"equalize=True, which evens out channels, {others}"
        return [f"Rounding the activations costs most ({pair}): try {others}."]
    evened = ""
    if is_unequal(explanation) and could_equalize(variant):
        evened = ": try equalize=True, which evens out channels"
    return [f"Weights and activations cost alike ({pair}; a bit is worth 6 dB){evened}."]


def could_equalize(variant: Variant) -> bool:
    """Whether equalizing has not been tried, and there are two layers between which it can scale."""
    recipe = variant.recipe
    if recipe is None or recipe.equalize or not variant.facts.could_observe_otherwise:
        return False

    def tried() -> bool:
        module = copy.deepcopy(variant.fp32.model)
        try:
            kept_fp32 = kept(module, recipe.keep_fp32)
            equalize(module, example_of(module, variant.admitted), kept_fp32)
        except QuantStageError:
            return False
        return True

    return variant.once("could be equalized", tried)


def is_unequal(explanation: Explanation) -> bool:
    """Whether the worst layers' ranges differ between channels."""
    faults = [fault for layer in explanation.ranked[:3] for fault in layer.faults]
    return any(isinstance(fault, Fault) and fault.kind in UNEQUAL for fault in faults)


def _range(explanation: Explanation, variant: Variant) -> list[str]:
    engine = str(variant.recipe.engine) if variant.recipe else ""
    activations, weights = explanation.sqnr["activations"], explanation.sqnr["weights"]
    if activations is None or weights is None or activations > weights:
        return []
    if variant.facts.halves_weights:
        return []
    if must_reduce_range(engine):
        return ["Activations have 7 bits: this CPU has no VNNI."]
    if engine in ("x86", "fbgemm") and has_vnni():
        return [f"Activations have 7 bits on engine {engine}; engine='onednn' gives them 8 here."]
    return []
