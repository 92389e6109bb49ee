"""Explanation: where a variant loses what it loses, layer by layer."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tabulate import tabulate

from pytest_quant.explain.lost.layer import Layer

SHOWN = 6  # layers in a failure message, which is to fit on a screen
HEADER = ("layer", "type", "share of noise", "SQNR dB", "what is wrong")


@dataclass(frozen=True, slots=True)
class Explanation:
    """Layers of a variant with what their quantization costs, and what follows from it.

    Args:
        variant, model, where: whose.
        layers: the quantized ones, in the order in which the network calls them.
        sqnr: of the model's outputs in dB; ``whole`` with everything quantized, ``weights`` and
            ``activations`` with only those quantized, ``built`` of the model as it was built, where
            the others are simulated; None where it could not be measured.
        samples: that it was measured on.
        seconds: that it took.
        sentences: what follows, for a person who knows pytest and not quantization.
        notes: what was left out, and why.
        operations: without a weight that are quantized too, as concatenations; they have no name of the
            user's.
    """

    variant: str
    model: str
    where: str
    layers: tuple[Layer, ...]
    sqnr: Mapping[str, float | None]
    samples: int
    seconds: float
    sentences: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    operations: tuple[Layer, ...] = ()

    @property
    def costly(self) -> tuple[Layer, ...]:
        """Layers and operations, those first that cost most."""
        return tuple(sorted([*self.layers, *self.operations], key=_cost, reverse=True))

    @property
    def ranked(self) -> tuple[Layer, ...]:
        """The layers, those first that cost most."""
        return tuple(sorted(self.layers, key=_cost, reverse=True))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            **asdict(self),
            "layers": [layer.to_dict() for layer in self.layers],
            "sqnr": dict(self.sqnr),
            "sentences": list(self.sentences),
            "notes": list(self.notes),
            "operations": [each.to_dict() for each in self.operations],
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Explanation":
        """What `to_dict` wrote."""
        return cls(
            **{
                **plain,
                "layers": tuple(Layer.from_dict(layer) for layer in plain["layers"]),
                "sentences": tuple(plain["sentences"]),
                "notes": tuple(plain["notes"]),
                "operations": tuple(map(Layer.from_dict, plain.get("operations", ()))),
            }
        )

    def __str__(self) -> str:
        return "\n".join([*self.sentences, "", self.table(), *self.notes]).strip()

    def table(self, most: int = SHOWN) -> str:
        """The layers that cost most, as text."""
        lines = [
            (
                layer.name,
                layer.type,
                "-" if layer.share is None else f"{100 * layer.share:.0f} %",
                "-" if layer.sqnr is None else f"{layer.sqnr:.1f}",
                "; ".join(layer.words),
            )
            for layer in self.costly[:most]
        ]
        if not lines:
            return ""
        text = tabulate(
            lines, HEADER, disable_numparse=True, colalign=("left", "left", "right", "right")
        )
        left = len(self.layers) + len(self.operations) - most
        what = "layers and operations" if self.operations else "layers"
        return f"{text}\n... and {left} {what} more" if left > 0 else text


def _cost(layer: Layer) -> tuple[float, float]:
    """By the effect on the model's output; by the layer's own noise where that is not known."""
    effect = -1.0 if layer.effect is None else layer.effect
    return effect, -1e9 if layer.sqnr is None else -layer.sqnr
