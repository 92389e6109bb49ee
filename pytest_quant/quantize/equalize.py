"""Equalize: cross-layer equalization, which evens out the ranges of a layer's channels before int8.

After Nagel, van Baalen, Blankevoort and Welling, "Data-Free Quantization Through Weight Equalization
and Bias Correction", ICCV 2019, section 4.1.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pytest_quant.errors import QuantStageError
from pytest_quant.quantize.chains import (
    CONVOLUTIONS,
    Chain,
    batchnorm_of,
    by_channel,
    chains,
    folded_scale,
    is_layer,
)
from pytest_quant.quantize.flows.example import Example
from pytest_quant.subject.batches import tensors_in

# What gives s times its output for s times its input, channel by channel, for every s > 0.
HOMOGENEOUS = (
    nn.ReLU,
    nn.LeakyReLU,
    nn.PReLU,
    nn.Identity,
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
)
POOLS = (
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.MaxPool3d,
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AvgPool3d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
)
MOST_SWEEPS = 30  # a chain of pairs settles in about ten
MOST_CHANGE = 1e-3  # of the outputs' norm; rounding in float32 makes about 1e-6 of it
SETTLED = 1e-3  # largest change of a factor, as a logarithm


@dataclass(frozen=True, slots=True, eq=False)
class LayerPair:
    """Two layers with only homogeneous modules, and perhaps a BatchNorm, between them."""

    first: Any
    batchnorm: Any
    second: Any


def equalize(module: Any, example: Example, fp32_names: Collection[str] = ()) -> str:
    """Equalize a copy of the FP32 model in place, with weights and BatchNorm as they are, unfolded.

    For each pair of layers, each channel between them is scaled so that its weights in both have the
    same largest magnitude: the first layer gives the channel times s, the second takes it by 1 / s.
    The outputs stay the same but for rounding, with one exception: a ReLU6 between two layers
    becomes a ReLU, as in the paper, since a limit of 6 on all channels cannot be scaled with them.
    Where activations exceed 6, the model is then another one, and the accuracy gate, which compares
    with the FP32 model as given, tells whether that matters.

    A channel with tiny weights and a bias is scaled up only so far that its bias stays within the
    range of the layer's activations, by BatchNorm |bias| + 3 |weight|; else it would widen the range
    for all channels.

    Args:
        module: the copy; the structure, all names and shapes stay.
        example: one call of it.
        fp32_names: of modules that stay FP32; between two of them nothing is to be gained.

    Returns:
        A note on what was done.

    Raises:
        QuantStageError: when the model has no such pair.
    """
    names = dict(module.named_modules())
    kept = {id(names[name]) for name in fp32_names if name in names}
    found = [
        found
        for chain in chains(module, example)
        if (found := layer_pair_of(chain, names))
        and not {id(found[0].first), id(found[0].second)} <= kept
    ]
    if not found:
        outside = " outside keep_fp32" if kept else ""
        raise QuantStageError(
            "prepare",
            f"equalize=True found no two layers of quant_model{outside} to equalize: convolutions, or "
            "Linear, with nothing but BatchNorm, ReLU, ReLU6 or pooling between them. Leave equalize out.",
        )
    capped = [name for _, between in found for name in between if type(names[name]) is nn.ReLU6]
    for name in capped:
        _uncap(module, name)
    pairs = [pair for pair, _ in found]
    with torch.no_grad():
        before = list(tensors_in(module(*example.args, **example.kwargs)))
        ranges = [_activation_range(pair) for pair in pairs]
        for _ in range(MOST_SWEEPS):
            changes = [_equalize_once(pair, most) for pair, most in zip(pairs, ranges, strict=True)]
            if max(changes) < SETTLED:
                break
        after = list(tensors_in(module(*example.args, **example.kwargs)))
    if any(_differ(*two) for two in zip(before, after, strict=True)):
        raise QuantStageError(
            "prepare",
            "equalize=True changed the outputs of quant_model: it uses some layer in a way that "
            "tracing does not show. Leave equalize out.",
        )
    also = f"; {len(capped)} ReLU6 between them became ReLU" if capped else ""
    return f"equalized {len(pairs)} pairs of layers{also}"


def _differ(before: Any, after: Any) -> bool:
    if not before.is_floating_point():
        return False
    return float((after - before).norm()) > MOST_CHANGE * float(before.norm())


def layer_pair_of(chain: Chain, names: dict[str, Any]) -> tuple[LayerPair, list[str]] | None:
    """The chain's layer and the next one, if all between them scales; and the names between."""
    first, batchnorm = names[chain.layer], batchnorm_of(chain, names)
    convolutional = type(first) in CONVOLUTIONS
    passed = (*HOMOGENEOUS, nn.ReLU6, *(POOLS if convolutional else ()))
    between: list[str] = []
    for name in chain.names[1 if batchnorm is None else 2 :]:
        child = names[name]
        if is_layer(child) and (type(child) in CONVOLUTIONS) is convolutional:
            return LayerPair(first, batchnorm, child), between
        if type(child) not in passed:
            return None
        between.append(name)
    return None


def _uncap(module: Any, name: str) -> None:
    """Put a ReLU in the place of a ReLU6."""
    parent, _, attribute = name.rpartition(".")
    holder = module.get_submodule(parent)
    capped = getattr(holder, attribute)
    setattr(holder, attribute, nn.ReLU(inplace=capped.inplace).train(capped.training))


def _equalize_once(pair: LayerPair, activation_range: float) -> float:
    """Scale a pair's channels; the largest change, as a logarithm."""
    own, next_ = _outgoing(pair), _incoming(pair.second)
    factor = (next_ / own).sqrt()
    factor[(own <= 0) | (next_ <= 0) | ~torch.isfinite(factor)] = 1
    if pair.batchnorm is not None:
        room = activation_range / pair.batchnorm.bias.detach().abs()  # infinite without a bias
        factor = torch.minimum(factor, room.clamp(min=1))
    scale(pair, factor)
    return float(factor.log().abs().max())


def scale(pair: LayerPair, factor: Any) -> None:
    """Let the first layer give each channel times a positive factor [channels], and the second layer
    take it so much smaller; what the pair computes stays the same."""
    first = pair.first if pair.batchnorm is None else pair.batchnorm
    first.weight.mul_(by_channel(factor, first.weight, 0))
    if first.bias is not None:
        first.bias.mul_(factor)
    weight = pair.second.weight  # [out, in / groups, ...]
    groups = getattr(pair.second, "groups", 1)
    grouped = weight.view(groups, -1, *weight.shape[1:])
    grouped.div_(factor.view(groups, 1, -1, *[1] * (weight.ndim - 2)))


def _outgoing(pair: LayerPair) -> Any:
    """The largest magnitude of each output channel's weights, BatchNorm folded in: [channels]."""
    largest = pair.first.weight.detach().abs().flatten(1).amax(1)
    return largest if pair.batchnorm is None else largest * folded_scale(pair.batchnorm).abs()


def _incoming(layer: Any) -> Any:
    """The largest magnitude of the weights that each input channel meets: [channels]."""
    weight = layer.weight.detach()
    groups = getattr(layer, "groups", 1)
    grouped = weight.view(groups, -1, weight.shape[1], math.prod(weight.shape[2:]))
    return grouped.abs().amax((1, 3)).flatten()


def _activation_range(pair: LayerPair) -> float:
    """How far activations reach before they are scaled, as BatchNorm tells; infinite without one."""
    norm = pair.batchnorm
    if norm is None:
        return math.inf
    return float((norm.bias.detach().abs() + 3 * norm.weight.detach().abs()).max())
