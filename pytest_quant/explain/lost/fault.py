"""Fault: one thing that is wrong with a layer, as a fact; its words are made where it is shown."""

from dataclasses import dataclass
from enum import Enum


class FaultKind(Enum):
    """What can be wrong, each with its words; ``{:.0f}`` is the fault's figure."""

    ONE_SCALE_FOR_DEPTHS = "depthwise, per-tensor"
    UNEQUAL_WEIGHT = "weight: outlier channel, max {:.0f}x the median"
    NOISY_WEIGHT = "weight keeps {:.0f} dB"
    SATURATED = "saturates {:.1f} % of activations"
    UNEQUAL_ACTIVATIONS = "activations: outlier channel, max {:.0f}x the median"
    EMPTY_RANGE = "{:.0f} % of the range is empty"
    FAR_OUTPUT = "its output is far from FP32's"


# Channels whose ranges differ by much, which equalizing evens out.
UNEQUAL = (FaultKind.UNEQUAL_WEIGHT, FaultKind.UNEQUAL_ACTIVATIONS)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a layer.

    Args:
        kind: of the fault.
        figure: how much of it, in the unit of the kind's words.
    """

    kind: FaultKind
    figure: float = 0.0

    def __str__(self) -> str:
        return self.kind.value.format(self.figure)
