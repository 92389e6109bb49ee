"""Simulation: a statically quantized model in float arithmetic, each layer's quantization on or off.

Weights and activations are rounded to the levels that the recipe's own observers set, at the places
where int8 kernels round: the input of a layer, its weight, and its output behind BatchNorm and ReLU.
Operations between layers (additions, concatenations, sigmoids) round as well. So any set of layers can be
tried at the cost of an FP32 forward, without another conversion or compilation.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from pytest_quant.explain.lost.feeding import Feeding
from pytest_quant.explain.lost.grid import Grid
from pytest_quant.explain.lost.noise import Noise, noise_share
from pytest_quant.explain.lost.tracking import FUSED, LayerTracking, Site, Tag
from pytest_quant.explain.lost.weighted import like_part, owners_of, weight_of
from pytest_quant.machine import torch_api
from pytest_quant.subject.batches import call
from pytest_quant.subject.subject import Subject

CLAMPED = FUSED | {"relu6", "relu6_", "hardtanh", "hardtanh_"}  # what pt2e makes part of a layer


@dataclass(slots=True, eq=False)
class Switches:
    """What is quantized at the moment.

    Args:
        layers: names of those that are.
        weights, activations: whether these are.
        others: whether operations without a weight round, as int8's additions and poolings do.
        places: of such operations, which round where not all do.
        own_only: whether a layer rounds just what is its own: its weight, its output, and an input
            that neither a layer nor an operation made. For all of them at once that is the whole model;
            for one alone it blames no tensor on two layers.
    """

    layers: frozenset[str] = frozenset()
    weights: bool = True
    activations: bool = True
    others: bool = False
    places: frozenset[Site] = frozenset()
    own_only: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Simulation:
    """A float model whose layers can be quantized.

    Args:
        module: in eval mode; its parameters are read, never written.
        subject: says how it is called.
        layers: name -> the module of each layer that can be quantized, in the order of the network.
        weights: name -> the rounded weight.
        scales: name -> what the BatchNorm behind a layer multiplies its channels by, [channels].
        grids: of activations by place.
        takers: name -> the layers that take its output, straight or moved.
        compiled: whether it is of flow pt2e: ReLU6 is part of the layer before it, additions and
            poolings are not rounded on their own, nor is what the model gives.
        feeding: what feeds which layers, where operations that feed no int8 layer are computed in float.
    """

    module: Any
    subject: Subject
    layers: Mapping[str, Any]
    weights: Mapping[str, Any]
    scales: Mapping[str, Any]
    grids: Mapping[Site, Grid]
    takers: Mapping[str, tuple[str, ...]]
    compiled: bool
    feeding: Feeding | None = None

    @property
    def fused(self) -> Collection[str]:
        """Functions that are part of the layer before them."""
        return CLAMPED if self.compiled else FUSED

    def outputs(self, inputs: Any, switches: Switches, noise: Noise | None = None) -> Any:
        """Outputs of a batch with just that quantized; `noise` sums up what the one layer lost."""
        mode = _Rounding(self, switches, noise)
        return mode.forward(lambda: call(self.module, inputs, self.subject.forward))

    def noise(self, inputs: Any) -> float:
        """In the outputs with everything quantized, as a share of the signal."""
        with in_float():
            reference = self.outputs(inputs, self.without(self.layers))
            return noise_share(reference, self.outputs(inputs, self.without()))

    def model(self, switches: Switches) -> Callable[..., Any]:
        """A callable like the model, with just that quantized, for an evaluation."""
        mode = _Rounding(self, switches, None)
        return _Callable(self.module, mode)

    def alone(self, layer: str) -> Switches:
        """This layer alone, with what is its own."""
        return Switches(frozenset([layer]), own_only=True)

    def alone_at(self, site: Site) -> Switches:
        """One operation without a weight alone."""
        return Switches(places=frozenset([site]))

    @property
    def operations(self) -> tuple[Site, ...]:
        """The places of operations without a weight that round."""
        loose = self.loose(self.without())
        return tuple(site for site in self.grids if not site[0] and site not in loose)

    def loose(self, switches: Switches) -> frozenset[Site]:
        """The operations without a weight that are computed in float, with these layers quantized."""
        if self.feeding is None:
            return frozenset()
        # what is quantized alone is looked at in the model that is quantized whole
        return self.feeding.none_of(switches.layers if switches.others else self.layers)

    def without(self, kept: Collection[str] = (), **changed: bool) -> Switches:
        """The model as it is built, but for these layers."""
        rest = frozenset(self.layers) - frozenset(kept)
        given: dict[str, Any] = {"others": bool(rest), **changed}
        return Switches(rest, **given)


class _Callable:
    """Called like the module, and otherwise the module, for a `quant_forward` that looks at it."""

    def __init__(self, module: Any, mode: LayerTracking) -> None:
        self._module = module
        self._mode = mode

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._mode.forward(lambda: self._module(*args, **kwargs))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


class _Rounding(LayerTracking):
    """Rounds what the switches say."""

    def __init__(self, simulation: Simulation, switches: Switches, noise: Noise | None) -> None:
        names = owners_of(simulation.layers)
        super().__init__(names, simulation.fused, not simulation.compiled)
        self.simulation = simulation
        self.switches = switches
        self.noise = noise
        self.loose = simulation.loose(switches)

    def weight(self, layer: str, weight: Any) -> Any:
        on = self.switches.weights and layer in self.switches.layers
        if not on:
            return weight
        whole = weight_of(self.simulation.layers[layer])
        return like_part(weight, whole, self.simulation.weights[layer])

    def entering(self, layer: str, values: Any, site: Site, tag: Tag | None) -> Any:
        takes = layer in self.switches.layers and (tag is None or not self.switches.own_only)
        made = tag is not None and self._is_int8(tag)
        rounded = values
        if (takes or made) and not (tag and tag.rounded):
            rounded = self._rounded(site, values)
        if made and tag is not None:
            self._count(tag, rounded)
        return rounded

    def passing(self, values: Any, tag: Tag, site: Site) -> Any:
        is_int8 = (self.switches.others and site not in self.loose) or self._is_int8(tag)
        return self._rounded(tag.site, values) if is_int8 else values

    def is_float(self, site: Site) -> bool:
        return site in self.loose

    def floating(self, values: Any, tag: Tag) -> None:
        self._count(tag, values)

    def _is_int8(self, tag: Tag) -> bool:
        if tag.layer:
            return tag.layer in self.switches.layers
        if tag.site in self.loose:
            return False
        return self.switches.others or tag.site in self.switches.places

    def reference(self, layer: str, call: Callable[[], Any]) -> Any:
        return call() if self.noise is not None and layer in self.switches.layers else None

    def leaving(self, values: Any, tag: Tag) -> Any:
        if not self._is_int8(tag):
            return values
        rounded = self._rounded(tag.site, values)
        self._count(tag, rounded)
        return rounded

    def ending(self, values: Any, tag: Tag) -> Any:
        if not self.simulation.compiled:
            return self.leaving(values, tag)
        self._count(tag, values)
        return values

    def _rounded(self, site: Site, values: Any) -> Any:
        grid = self.simulation.grids.get(site) if self.switches.activations else None
        return values if grid is None or not values.is_floating_point() else grid.rounded(values)

    def _count(self, tag: Tag, values: Any) -> None:
        if self.noise is not None and tag.reference is not None:
            self.noise.add(tag.reference, values)


@contextmanager
def in_float() -> Iterator[None]:
    """In which a float model runs as if it were one that is quantized: without the fast path of
    attention, whose fused kernels hide the layers inside."""
    with torch_api.without_fast_path(), torch.inference_mode():
        yield
