"""Weighted: the weight of a layer that can be quantized, whatever the layer calls it."""

from collections.abc import Mapping
from typing import Any

import torch

from pytest_quant.measure.operator_macs import place_of

NAMES = ("weight", "in_proj_weight")  # the second one: of attention's projections of what comes in


def is_weighted(layer: Any) -> bool:
    """Whether a layer has a weight, and one alone."""
    return bool(_weights(layer))


def weight_of(layer: Any) -> Any:
    """The weight of a layer that has one."""
    return _weights(layer)[0]


def owners_of(layers: Mapping[str, Any]) -> dict[int, str]:
    """Ids of the weights of layers -> their names; attention's also by where the weight is stored, since
    attention may take parts of it."""
    owners = {id(weight_of(layer)): name for name, layer in layers.items()}
    for name, layer in layers.items():
        if isinstance(layer, torch.nn.MultiheadAttention):
            owners[place_of(weight_of(layer))] = name
    return owners


def owner_of(weight: Any, owners: Mapping[int, str]) -> str | None:
    """The layer that a weight belongs to, or a part of one."""
    known = owners.get(id(weight))
    if known is None and type(weight) is torch.Tensor and weight.layout is torch.strided:
        return owners.get(place_of(weight))
    return known


def like_part(part: Any, weight: Any, whole: Any) -> Any:
    """Of a tensor that is like a weight what a part is of the weight."""
    if part.shape == weight.shape:
        return whole
    offset = part.storage_offset() - weight.storage_offset()
    return whole.contiguous().as_strided(part.shape, part.stride(), offset)


def _weights(layer: Any) -> list[Any]:
    own = getattr(layer, "_parameters", {})
    return [own[name] for name in NAMES if isinstance(own.get(name), torch.Tensor)]
