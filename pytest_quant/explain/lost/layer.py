"""Layer: one quantized layer of a model, and what its quantization does to its output and the model's."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pytest_quant.explain.lost.fault import Fault

OPERATION = "operation"  # the type of what has no weight: a concatenation, an addition


@dataclass(frozen=True, slots=True)
class Layer:
    """What the quantization of one layer costs, measured on calibration samples.

    Args:
        name: the user's qualified name.
        type: the module's class, ``Conv2d``.
        parameters: that it has.
        macs: multiply-adds for the first eval batch; 0 where they are not known.
        sqnr: signal-to-quantization-noise ratio of its output in dB, on the inputs that FP32 gives it;
            None where it could not be measured or has no noise.
        weight_sqnr: of its weight, in dB.
        saturated: share of the activations that its range clips, in [0, 1].
        used: share of the levels of that range that hold 99.8 % of the activations, in [0, 1].
        effect: noise in the model's output when this layer alone is quantized, as a share of the
            signal (power; 0.01 is 20 dB); None where it could not be measured.
        share: of the sum of all layers' effects, in [0, 1].
        faults: what is wrong with it, in words alone where it was read from a report; empty when nothing
            stands out.
    """

    name: str
    type: str
    parameters: int = 0
    macs: int = 0
    sqnr: float | None = None
    weight_sqnr: float | None = None
    saturated: float | None = None
    used: float | None = None
    effect: float | None = None
    share: float | None = None
    faults: tuple[Fault | str, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """What is wrong with it, for a person."""
        return tuple(map(str, self.faults))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {**asdict(self), "faults": list(self.words)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Layer":
        """What `to_dict` wrote."""
        return cls(**{**plain, "faults": tuple(plain["faults"])})
