"""Facts: what a method says of the variants that it makes, so that nobody else asks for kind and flow."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

NORMS = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "LayerNorm", "GroupNorm", "RMSNorm")


class Ranges(Enum):
    """When the ranges of a variant's activations are found."""

    NEVER = "it computes in float"
    AT_EACH_CALL = "they are found as activations come"
    BEFOREHAND = "they are observed and fixed"
    UNKNOWN = "its build is the user's"


@dataclass(frozen=True, slots=True)
class Facts:
    """Of the variants that a method makes after one recipe.

    Args:
        name: what decides what the method covers, for a person: ``static in flow pt2e``.
        ranges: when those of activations are found.
        covers: names of the layer types that it has a smaller form for; None for any but normalizations.
        bits: of a weight's value in that form, with the scales of blocks.
        other_bits: of what else such a layer holds; below 32 the whole model computes in them.
        scale_bytes: of the scale and zero point of each of a layer's channels.
        own_scale_bytes: the same of layer types where they are others.
        packs_each: whether layers that share a weight get a packed one each.
        folds_batchnorm: whether BatchNorm becomes part of the layer before it.
        trains: whether the weights were trained.
        is_compiled: whether what runs is compiled.
        engine: the only one that it runs on; None where the recipe chooses.
        sees_inside: whether it looks into PyTorch's own modules, as attention.
        by_parts: whether submodules were traced, each on its own.
        floats_tail: whether what no layer with weights follows stays float.
        spares_ranges: whether no range is spent on what the next operation makes alike.
        fast_path: whether it can take PyTorch's fast path for attention.
        is_settled: whether the tools of its runtime choose observers and scales, and no recipe.
        halves_weights: whether weights, and not activations, keep to 7 bits where 8 would saturate.
    """

    name: str
    ranges: Ranges
    covers: frozenset[str] | None = frozenset()
    bits: int = 8
    other_bits: int = 32
    scale_bytes: int = 0
    own_scale_bytes: Mapping[str, int] = field(default_factory=dict)
    packs_each: bool = False
    folds_batchnorm: bool = False
    trains: bool = False
    is_compiled: bool = False
    engine: str | None = None
    sees_inside: bool = True
    by_parts: bool = False
    floats_tail: bool = False
    spares_ranges: bool = False
    fast_path: bool = False
    is_settled: bool = False
    halves_weights: bool = False

    @property
    def is_known(self) -> bool:
        """Whether the build is ours."""
        return self.ranges is not Ranges.UNKNOWN

    @property
    def is_dynamic(self) -> bool:
        """Whether ranges are found at each call."""
        return self.ranges is Ranges.AT_EACH_CALL

    @property
    def is_observed(self) -> bool:
        """Whether ranges are observed beforehand."""
        return self.ranges is Ranges.BEFOREHAND

    @property
    def is_calibrated(self) -> bool:
        """Whether ranges are observed beforehand, of the weights as they are."""
        return self.is_observed and not self.trains

    @property
    def could_observe_otherwise(self) -> bool:
        """Whether a recipe with other observers or scales would calibrate it in another way."""
        return self.is_calibrated and not self.is_settled

    @property
    def could_be_compiled(self) -> bool:
        """Whether flow pt2e could compile what another one has made."""
        return self.is_observed and not self.is_compiled

    @property
    def chooses_layers(self) -> bool:
        """Whether a recipe says which layers are quantized."""
        return self.is_known and not self.is_in_half

    @property
    def is_in_half(self) -> bool:
        """Whether the whole model computes in half precision."""
        return self.other_bits < 32

    @property
    def unpacks_weights(self) -> bool:
        """Whether it computes in float with weights that are stored in fewer bits."""
        return self.ranges is Ranges.NEVER and self.bits < self.other_bits

    def takes(self, layer_type: str) -> bool:
        """Whether there is a smaller form for a layer of this type."""
        if self.covers is None:
            return bool(layer_type) and layer_type not in NORMS
        return layer_type in self.covers

    def bytes_of(self, layer_type: str, weights: int, rest: int, channels: int) -> float:
        """Bytes of a layer in its smaller form.

        Args:
            weights, rest: bytes of its weights and of what else it holds, in FP32.
            channels: of its weights.
        """
        scales = self.own_scale_bytes.get(layer_type, self.scale_bytes)
        return weights * self.bits / 32 + rest * self.other_bits / 32 + scales * channels


FP32 = Facts("FP32", Ranges.NEVER, bits=32, fast_path=True)
