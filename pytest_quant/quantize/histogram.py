"""Histogram: how often a tensor took which values, over any number of batches, in fixed memory.

A bin is 2^e wide and starts at a whole multiple of that. When a batch exceeds the bins, e rises, and
bins are merged by a power of two. Scaling by a power of two and taking floors rounds nothing, and e
follows from the smallest and the largest value alone; so the counts are the same in whatever order
and batches the values came. (Only of a negative value that is below 1e-44 of a bin's width, which
float32 cannot divide any more, the sign may get lost.)
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# At least half of them lie between the smallest and the largest value, unless all values are so
# close to each other that float32 itself is coarser.
BINS = 4096
CHUNK = 1 << 18  # values counted at a time: their indices stay in the CPU's cache
FINEST = -126  # exponent of the narrowest bins: the reciprocal of their width is still a float32
MANTISSA = 24  # bits of a float32; finer bins than the largest value's own spacing tell nothing
LONGEST_SHIFT = 62  # of an int64; every index is 0 or -1 after that


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """Counts as tensors that are changed in place, so that a module can hold them as buffers.

    Args:
        counts: int64 [BINS], finite values in each bin.
        grid: int64 [2], the exponent of the bins' width, and the first bin's index: that bin starts
            at index * 2^exponent.
        tally: int64 [2], values that are exactly zero, and values that are not finite. The former
            are in `counts` too, the latter nowhere else.
        min_val, max_val: float32 scalars, smallest and largest finite value; inf and -inf before
            any was seen.
    """

    counts: Any
    grid: Any
    tally: Any
    min_val: Any
    max_val: Any

    @classmethod
    def empty(cls) -> "Histogram":
        """One that has seen nothing."""
        import torch

        return cls(
            counts=torch.zeros(BINS, dtype=torch.int64),
            grid=torch.tensor([FINEST, 0]),
            tally=torch.zeros(2, dtype=torch.int64),
            min_val=torch.tensor(math.inf),
            max_val=torch.tensor(-math.inf),
        )

    @property
    def non_finite(self) -> int:
        """Values seen that were NaN or infinite as float32."""
        return int(self.tally[1])

    def add(self, values: Any) -> None:
        """Count the values of a tensor of any shape and real dtype, as float32.

        NaN and infinities have no place in a finite range: they are tallied, and otherwise left
        out. A float64 beyond float32's range is infinite here.
        """
        import torch

        flat = values.detach().to(self.counts.device, torch.float32).reshape(-1)
        if not flat.numel():
            return
        low, high = torch.aminmax(flat)
        if not torch.isfinite(low) or not torch.isfinite(high):
            finite = flat[torch.isfinite(flat)]
            self.tally[1] += flat.numel() - finite.numel()
            if not finite.numel():
                return
            flat, (low, high) = finite, torch.aminmax(finite)
        self._cover(min(float(low), float(self.min_val)), max(float(high), float(self.max_val)))
        exponent, first = self.grid.tolist()
        scale = math.ldexp(1.0, -exponent)
        for part in flat.split(CHUNK):
            index = (part * scale).floor_().sub_(first).to(torch.int32).clamp_(0, BINS - 1)
            self.counts.add_(torch.bincount(index, minlength=BINS))
            self.tally[0] += part.numel() - torch.count_nonzero(part)

    def bins(self) -> "Bins":
        """What was counted, as arrays to compute with."""
        exponent, first = self.grid.tolist()
        counts = self.counts.cpu().numpy().astype(np.float64)
        zeros, low, high = float(self.tally[0]), float(self.min_val), float(self.max_val)
        if zeros:
            counts[-first] -= zeros
        filled = np.flatnonzero(counts)
        width = math.ldexp(1.0, exponent)
        starts = (filled + first) * width
        return Bins(
            starts=np.clip(starts, low, high),
            ends=np.clip(starts + width, low, high),
            counts=counts[filled],
            zeros=zeros,
            low=low,
            high=high,
        )

    def _cover(self, low: float, high: float) -> None:
        """Widen the bins so far that they hold both values, and move the counts along."""
        import torch

        old_exponent, old_first = self.grid.tolist()
        exponent = max(_exponent(low, high), old_exponent)
        first = math.floor(math.ldexp(low, -exponent))
        if (exponent, first) != (old_exponent, old_first):
            index = torch.arange(BINS, device=self.counts.device) + old_first
            index = (index >> min(exponent - old_exponent, LONGEST_SHIFT)) - first
            moved = torch.zeros_like(self.counts)
            moved.index_add_(0, index.clamp_(0, BINS - 1), self.counts)
            self.counts.copy_(moved)
            self.grid.copy_(torch.tensor([exponent, first]))
        self.min_val.fill_(low)
        self.max_val.fill_(high)


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """The bins that are not empty, in ascending order; values lie evenly within each.

    Args:
        starts, ends: of each bin, [n]; none reaches beyond the smallest or the largest value, so
            the last may be a point.
        counts: values in each bin, [n], without those that are exactly zero.
        zeros: values that are exactly zero, which every quantized range represents without error.
        low, high: the smallest and the largest value.
    """

    starts: Floats
    ends: Floats
    counts: Floats
    zeros: float
    low: float
    high: float

    def running(self, each: Floats) -> tuple[Floats, Floats]:
        """Where the running sum of one number for each bin bends, and the sum there, [2n] both."""
        after = np.cumsum(each)
        places = np.column_stack([self.starts, self.ends]).ravel()
        return places, np.column_stack([after - each, after]).ravel()


def _exponent(low: float, high: float) -> int:
    """Of the narrowest bins of which BINS hold both values."""
    largest = max(-low, high)
    exponent = max(FINEST, math.frexp(largest)[1] - MANTISSA) if largest else FINEST
    while math.floor(math.ldexp(high, -exponent)) - math.floor(math.ldexp(low, -exponent)) >= BINS:
        exponent += 1
    return exponent
