"""Grid: the levels that a tensor is rounded to, as its observer sets them."""

from dataclasses import dataclass
from typing import Any

import torch

SAMPLED = 50_000  # values that quantiles are taken of


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Levels of an int8 tensor, for the whole of it or for each channel.

    Args:
        scale, zero_point: [1], or [channels].
        low, high: the lowest and the highest integer.
        axis: of the channels; None for a whole tensor.
    """

    scale: Any
    zero_point: Any
    low: int
    high: int
    axis: int | None = None

    @classmethod
    def of(cls, observer: Any) -> "Grid | None":
        """What an observer has found; None where it quantizes nothing."""
        if not hasattr(observer, "calculate_qparams"):
            return None
        scale, zero_point = observer.calculate_qparams()
        per_channel = scale.numel() > 1
        return cls(
            scale.float().reshape(-1),
            zero_point.to(torch.int32).reshape(-1),
            observer.quant_min,
            observer.quant_max,
            getattr(observer, "ch_axis", 0) if per_channel else None,
        )

    def rounded(self, values: Any) -> Any:
        """The values that int8 can hold, nearest to these."""
        if self.axis is None:
            return torch.fake_quantize_per_tensor_affine(
                values, self.scale, self.zero_point, self.low, self.high
            )
        return torch.fake_quantize_per_channel_affine(
            values, self.scale, self.zero_point, self.axis, self.low, self.high
        )

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest value of a whole tensor's grid."""
        zero, step = int(self.zero_point[0]), float(self.scale[0])
        return (self.low - zero) * step, (self.high - zero) * step

    def saturated(self, values: Any) -> float:
        """The share of the values that lie more than half a step outside, in [0, 1]."""
        lowest, highest = self.ends
        half = float(self.scale[0]) / 2
        outside = (values < lowest - half) | (values > highest + half)
        return float(outside.float().mean())

    def used(self, values: Any) -> float:
        """The share of the levels that the middle 99.8 % of the values lie on, in [0, 1]."""
        flat = values.reshape(-1)
        flat = flat[:: max(1, flat.numel() // SAMPLED)].float()
        ends = torch.quantile(flat, torch.tensor([0.001, 0.999]))
        lowest, highest = self.ends
        width = float(ends[1].clamp(lowest, highest) - ends[0].clamp(lowest, highest))
        return min(1.0, (width / float(self.scale[0]) + 1) / (self.high - self.low + 1))
