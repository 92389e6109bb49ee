"""Noise: what rounding adds to a signal, in power."""

import math
from dataclasses import dataclass
from typing import Any

from pytest_quant.subject.batches import tensors_in

UNLIKE = 100.0  # times the deviation of another column: outputs of several kinds in one tensor


@dataclass(slots=True, eq=False)
class Noise:
    """What a layer's output lost, summed up: powers of signal and noise, [values]."""

    signal: float = 0.0
    noise: float = 0.0

    def add(self, reference: Any, values: Any) -> None:
        """Count one output."""
        self.signal += float(reference.double().square().sum())
        self.noise += float((reference.double() - values.double()).square().sum())


def noise_share(reference: Any, outputs: Any) -> float:
    """Noise in a model's outputs as a share of their signal, in power.

    The signal is what differs between the values of a sample: a logit that all classes share decides
    nothing. Of a single value for each sample it is what differs between samples. Values of scales of
    their own, as boxes in pixels beside scores, count alike, each by what differs between samples.
    """
    signal = noise = 0.0
    for x, y in zip(tensors_in(reference), tensors_in(outputs), strict=True):
        if not x.is_floating_point() or not x.numel():
            continue
        x, y = x.double(), y.double()
        axis = -1 if x.ndim and x.shape[-1] > 1 else 0
        if (scales := _scales(x)) is not None:
            y, x = (y - x.mean(0)) / scales, (x - x.mean(0)) / scales
        elif x.ndim and x.shape[axis] > 1:
            x, y = x - x.mean(axis, keepdim=True), y - y.mean(axis, keepdim=True)
        signal += float(x.square().sum())
        noise += float((x - y).square().sum())
    if not math.isfinite(noise):
        return math.inf
    return noise / signal if signal else (0.0 if noise == 0 else math.inf)


def _scales(values: Any) -> Any | None:
    """The deviation of each column, [columns], where these differ by much; None where they do not."""
    if values.ndim != 2 or min(values.shape) < 2:
        return None
    deviation = values.std(0)
    some = deviation[deviation > 0]
    if not len(some) or float(some.max()) < UNLIKE * float(some.min()):
        return None
    return deviation.clamp(min=float(some.min()))


def decibels(share: float) -> float | None:
    """A noise share in power as a signal-to-noise ratio; None where there is no noise, or only noise."""
    return -10 * math.log10(share) if 0 < share < math.inf else None
