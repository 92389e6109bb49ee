"""Faults: what is wrong with a layer, by the figures that say so."""

from collections.abc import Iterable
from typing import Any

from pytest_quant.explain.lost.fault import Fault, FaultKind
from pytest_quant.explain.lost.range_fit import Fit, outlier_of
from pytest_quant.explain.lost.weighted import weight_of

OUTLIER = 10.0  # times the median channel: more than three bits of its neighbours' range are gone
SATURATED = 0.01  # of the activations; less is what a histogram observer clips anyway
USED = 0.15  # of the levels; below it a layer has fewer than 6 bits left
NOISY = 25.0  # dB; a weight in 8 bits usually has 35 and more


def faults_of(
    layer: Any, fits: Iterable[Fit], *, per_channel: bool, weight_sqnr: float | None, scale: Any
) -> tuple[Fault, ...]:
    """What stands out of a layer and the activations that it rounds.

    Args:
        layer: the module, of a convolution or Linear.
        fits: of its own activations.
        per_channel: whether its weight has a scale for each output channel.
        weight_sqnr: of the rounded weight in dB.
        scale: of the BatchNorm that is folded into it, [channels], or None.
    """
    found = list[Fault]()
    groups = getattr(layer, "groups", 1)
    if not per_channel:
        if groups > 1 and groups == getattr(layer, "in_channels", 0):
            found.append(Fault(FaultKind.ONE_SCALE_FOR_DEPTHS))
        spread = outlier_of(_folded(layer, scale), 0)
        if spread > OUTLIER:
            found.append(Fault(FaultKind.UNEQUAL_WEIGHT, spread))
    if weight_sqnr is not None and weight_sqnr < NOISY and not found:
        found.append(Fault(FaultKind.NOISY_WEIGHT, weight_sqnr))
    return (*found, *faults_of_range(fits))


def faults_of_range(fits: Iterable[Fit]) -> tuple[Fault, ...]:
    """What stands out of the ranges of activations."""
    found, fits = list[Fault](), list(fits)
    saturated = max((fit.saturated for fit in fits), default=0.0)
    if saturated > SATURATED:
        found.append(Fault(FaultKind.SATURATED, 100 * saturated))
    outlier = max((fit.outlier for fit in fits), default=1.0)
    if outlier > OUTLIER:
        found.append(Fault(FaultKind.UNEQUAL_ACTIVATIONS, outlier))
    used = min((fit.used for fit in fits), default=1.0)
    if used < USED:
        found.append(Fault(FaultKind.EMPTY_RANGE, 100 * (1 - used)))
    return tuple(found)


def _folded(layer: Any, scale: Any) -> Any:
    weight = weight_of(layer).detach()
    if scale is None or getattr(layer, "transposed", False):
        return weight
    return weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
