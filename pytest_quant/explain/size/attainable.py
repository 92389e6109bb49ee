"""Attainable: how small a kind of quantization could make a model, if it took all that it can."""

from collections.abc import Iterable

from pytest_quant.explain.size.layer_bytes import LayerBytes
from pytest_quant.variant.facts import NORMS, Facts

FOLDED = 4  # of a BatchNorm's four numbers for each channel one is left


def least_bytes(
    facts: Facts,
    parts: Iterable[LayerBytes],
    *,
    unbuilt: bool = False,
    shared: Iterable[tuple[LayerBytes, str]] = (),
) -> int | None:
    """Bytes of a model, were all in it small that a method can make small.

    Args:
        facts: of the method; what its recipe keeps FP32 counts as small too.
        parts: what the model's layers hold: FP32, or the variant as it is.
        unbuilt: whether BatchNorm is still to be folded into the layer before it, which leaves a bias.
        shared: weights that further layers share, and the type of the layer that `parts` has them with.
            Some methods pack them for each; all do where the first stays FP32.

    Returns:
        None for a custom recipe, of which nothing is known.
    """
    if not facts.is_known:
        return None
    folds = unbuilt and facts.folds_batchnorm
    packed = [
        held
        for held, first in shared
        if facts.takes(held.type) and (facts.packs_each or not facts.takes(first))
    ]
    return round(
        sum(_least(facts, held) for held in packed)
        + sum(
            held.bytes / FOLDED if folds and held.type in NORMS[:3] else _least(facts, held)
            for held in parts
        )
    )


def most_int8(facts: Facts, parts: Iterable[LayerBytes], parameters: int) -> float | None:
    """About the share of a model's parameters that a method could make int8: the weights of its layers.

    Args:
        facts: of the method.
        parts: what FP32's layers hold.
        parameters: bytes of all of FP32's parameters.

    Returns:
        A share in [0, 1]; None for a custom recipe, of which nothing is known.
    """
    if not facts.is_known or not parameters:
        return None
    taken = sum(held.weight_bytes for held in parts if facts.takes(held.type))
    return min(1.0, taken / parameters)


def _least(facts: Facts, held: LayerBytes) -> float:
    if held.dtype != "FP32" or not facts.takes(held.type):
        return held.bytes
    rest = held.bytes - held.weight_bytes
    return facts.bytes_of(held.type, held.weight_bytes, rest, held.channels)
