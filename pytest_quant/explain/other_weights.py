"""Other weights: did a build of the user's start from the model that it was given?"""

from collections.abc import Iterator
from typing import Any

import torch

from pytest_quant.errors import listed
from pytest_quant.variant.variant import Variant

# Cosine of a channel's weights; of three levels alone it is 0.8, of other weights near 0.
ALIKE = 0.5
FEWEST = 8  # weights of a channel: fewer lie near each other by chance
SHOWN = 3


def other_weights(variant: Variant) -> tuple[str, str] | None:
    """That the layers of a custom variant have other weights than FP32's, and what to do; None where they
    have not, or where that cannot be seen.

    Compared are directions, since folding a BatchNorm changes the size of a channel's weights.
    """
    if variant.facts.is_known or not isinstance(variant.model, torch.nn.Module):
        return None
    with variant.running():
        found = dict(_cosines(variant))
    if not found or max(found.values()) >= ALIKE:
        return None
    most = max(found.values())
    return (
        f"The weights of {variant.name} are none of quant_model's: in "
        f"{listed(found, SHOWN, counted=True)} their cosine is {most:.2f} at most, where rounding leaves "
        f"more than {ALIKE}.",
        "Its build loads another checkpoint, or starts from a new model: let it quantize the module that "
        "it is given.",
    )


def _cosines(variant: Variant) -> Iterator[tuple[str, float]]:
    """Of each layer that both have, the median cosine of its channels' weights."""
    own = dict(variant.model.named_modules())
    for name, layer in variant.fp32.model.named_modules():
        expected, weight = _weight(layer), _weight(own.get(name))
        if expected is None or weight is None or expected.shape != weight.shape:
            continue
        if expected[0].numel() >= FEWEST:
            cosine = torch.nn.functional.cosine_similarity(expected.flatten(1), weight.flatten(1))
            yield name, float(cosine.median())


def _weight(layer: Any) -> Any:
    """A layer's weight as float; None where it has none of two dimensions or more."""
    try:
        weight = layer.weight() if callable(layer.weight) else layer.weight
        weight = weight.dequantize() if weight.is_quantized else weight
        return weight.detach().float() if weight.ndim > 1 else None
    except Exception:  # a layer without one, or of another make
        return None
