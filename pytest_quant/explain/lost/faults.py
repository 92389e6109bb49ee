"""Faults: what is wrong with a layer, in words of a few syllables."""

from collections.abc import Iterable
from typing import Any

from pytest_quant.explain.lost.range_fit import Fit, outlier_of

OUTLIER = 10.0  # times the median channel: more than three bits of its neighbours' range are gone
SATURATED = 0.01  # of the activations; less is what a histogram observer clips anyway
USED = 0.15  # of the levels; below it a layer has fewer than 6 bits left
NOISY = 25.0  # dB; a weight in 8 bits usually has 35 and more


def faults_of(
    layer: Any, fits: Iterable[Fit], *, per_channel: bool, weight_sqnr: float | None, scale: Any
) -> tuple[str, ...]:
    """What stands out of a layer and the activations that it rounds.

    Args:
        layer: the module, of a convolution or Linear.
        fits: of its own activations.
        per_channel: whether its weight has a scale for each output channel.
        weight_sqnr: of the rounded weight in dB.
        scale: of the BatchNorm that is folded into it, [channels], or None.
    """
    found, fits = [], list(fits)
    groups = getattr(layer, "groups", 1)
    if not per_channel:
        if groups > 1 and groups == getattr(layer, "in_channels", 0):
            found.append("depthwise, per-tensor")
        spread = outlier_of(_folded(layer, scale), 0)
        if spread > OUTLIER:
            found.append(f"weight: outlier channel, max {spread:.0f}x the median")
    if weight_sqnr is not None and weight_sqnr < NOISY and not found:
        found.append(f"weight keeps {weight_sqnr:.0f} dB")
    saturated = max((fit.saturated for fit in fits), default=0.0)
    if saturated > SATURATED:
        found.append(f"saturates {100 * saturated:.1f} % of activations")
    outlier = max((fit.outlier for fit in fits), default=1.0)
    if outlier > OUTLIER:
        found.append(f"activations: outlier channel, max {outlier:.0f}x the median")
    used = min((fit.used for fit in fits), default=1.0)
    if used < USED:
        found.append(f"{100 * (1 - used):.0f} % of the range is empty")
    return tuple(found)


def _folded(layer: Any, scale: Any) -> Any:
    weight = layer.weight.detach()
    if scale is None or getattr(layer, "transposed", False):
        return weight
    return weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
