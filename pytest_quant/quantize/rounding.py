"""Rounding: what an int8 kernel does to a tensor's values, done in float with a calibrated range."""

from typing import Any

import torch

from pytest_quant.machine import torch_api
from pytest_quant.quantize.span import EVERYTHING, clamp_before, span_before


class Rounding(torch.nn.Module):
    """Stands where an observer stood and rounds what passes to the levels that it has found.

    Args:
        observer: calibrated; of one range, or of one for each channel.
    """

    def __init__(self, observer: Any) -> None:
        super().__init__()
        scale, zero_point = observer.calculate_qparams()
        self.scale, self.zero_point = scale.detach().clone(), zero_point.detach().clone()
        self.axis = observer.ch_axis if scale.numel() > 1 else None
        self.least, self.most = observer.quant_min, observer.quant_max
        if (span := span_before(observer)) != EVERYTHING:
            clamp_before(self, span)

    def forward(self, x: Any) -> Any:
        if not x.is_floating_point():
            return x
        shape = [1] * x.ndim
        if self.axis is not None:
            shape[self.axis] = -1
        scale, zero = (
            (self.scale.reshape(shape), self.zero_point.reshape(shape))
            if self.axis is not None
            else (self.scale, self.zero_point)
        )
        level = torch.clamp(torch.round(x / scale + zero), self.least, self.most)
        return ((level - zero) * scale).to(x.dtype)


def rounding(observer: Any) -> Any:
    """A `Rounding` after an observer; None for one that finds no range, or finds it at each call."""
    if getattr(observer, "is_dynamic", False) or not hasattr(observer, "calculate_qparams"):
        return None
    if observer.dtype not in torch_api.int8_dtypes():
        return None
    return Rounding(observer)
