"""Observed: a simulation whose ranges the recipe's own observers have found on calibration data."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch

from pytest_quant.errors import QuantStageError
from pytest_quant.explain.lost.grid import Grid
from pytest_quant.explain.lost.simulation import CLAMPED, Simulation
from pytest_quant.explain.lost.tracking import FUSED, WEIGHTED, LayerTracking, Site, Tag, tag_of
from pytest_quant.explain.lost.weighted import is_weighted, owners_of, weight_of
from pytest_quant.quantize.layer_observers import LayerObservers
from pytest_quant.quantize.methods.registry import facts_of, method_of
from pytest_quant.subject.batches import call
from pytest_quant.subject.subject import Subject
from pytest_quant.variant.recipe import Recipe

BEFORE = "_pytest_quant_before"  # of a tensor: the operations without a weight that led to it


def simulation_of(
    module: Any, subject: Subject, recipe: Recipe, names: Iterable[str], batches: Iterable[Any]
) -> Simulation:
    """Observe the activations of a float model, and set up the rounding of its layers.

    Args:
        module: a copy of the FP32 model in eval mode, or of what QAT made of its weights.
        recipe: static or QAT, with the flow and engine that were taken.
        names: of the layers that became int8.
        batches: inputs to observe.
    """
    layers = {name: module.get_submodule(name) for name in names}
    layers = {n: layer for n, layer in layers.items() if is_weighted(layer)}
    observers, compiled = _observers(recipe), facts_of(recipe).is_compiled
    floats_tail = facts_of(recipe).floats_tail
    watch = _Observing(
        owners_of(layers), compiled, lambda name: observers.activation(layers.get(name))
    )
    with torch.no_grad():
        for inputs in batches:
            watch.seen.clear()
            watch.forward(lambda inputs=inputs: call(module, inputs, subject.forward))  # type: ignore[misc]
        called = {name: layers[name] for name in watch.order if name in layers}
        weights = {
            name: _rounded_weight(layer, observers.weight(layer), watch.scales.get(name))
            for name, layer in called.items()
        }
        grids = {
            site: grid
            for site, o in watch.observers.items()
            if (grid := Grid.of(o)) and not (floats_tail and watch.is_tail(site))
        }
    takers = {name: tuple(taking) for name, taking in watch.takers.items()}
    return Simulation(module, subject, called, weights, watch.scales, grids, takers, compiled)


def _observers(recipe: Recipe) -> LayerObservers:
    found = method_of(recipe).observers(recipe)
    if found is None:
        raise QuantStageError("explain", f"kind {recipe.kind} observes no layers beforehand.")
    return found


def _rounded_weight(layer: Any, observer: Any, scale: Any) -> Any:
    """The weight that int8 can hold; BatchNorm's scale, [channels], is in it when it is rounded."""
    weight = weight_of(layer).detach()
    if scale is not None and not getattr(layer, "transposed", False):
        factor = scale.reshape(-1, *[1] * (weight.ndim - 1))
        factor = torch.where(factor == 0, torch.ones_like(factor), factor)
    else:
        factor = torch.ones(())
    folded = weight * factor
    observer(folded)
    grid = Grid.of(observer)
    return weight if grid is None else grid.rounded(folded) / factor


class _Observing(LayerTracking):
    """Lets observers see the activations of a float model, place by place."""

    def __init__(
        self, names: Mapping[int, str], compiled: bool, observer: Callable[[str], Any]
    ) -> None:
        super().__init__(names, CLAMPED if compiled else FUSED, not compiled)
        self.observers: dict[Site, Any] = {}
        self.scales: dict[str, Any] = {}
        self.order: dict[str, None] = {}
        self.takers: dict[str, dict[str, None]] = {}
        self.seen: set[Site] = set()
        self.fed: set[Site] = set()  # operations whose output comes to a layer sooner or later
        self._observer = observer

    def is_tail(self, site: Site) -> bool:
        """Whether it is an operation that no layer follows."""
        return not site[0] and site not in self.fed

    def called(self, name: str, given: Any, output: Any) -> None:
        before = frozenset[Site]().union(
            *(getattr(tensor, BEFORE, frozenset()) for tensor in _tensors(given))
        )
        if name in WEIGHTED:
            self.fed |= before
        for tensor in _tensors(output):
            tag = tag_of(tensor)
            own = {tag.site} if tag is not None and not tag.layer else frozenset[Site]()
            setattr(tensor, BEFORE, before | own)

    def entering(self, layer: str, values: Any, site: Site, tag: Tag | None) -> Any:
        self.order[layer] = None
        if tag is not None:
            self.takers.setdefault(tag.layer, {})[layer] = None
        if tag is None or not tag.rounded:
            self._observe(site, values)
        return values

    def passing(self, values: Any, tag: Tag) -> Any:
        self._observe(tag.site, values)
        return values

    def normalized(self, layer: str, scale: Any) -> None:
        self.scales[layer] = scale

    def leaving(self, values: Any, tag: Tag) -> Any:
        self._observe(tag.site, values)
        return values

    def _observe(self, site: Site, values: Any) -> None:
        if site in self.seen or not values.is_floating_point():
            return
        self.seen.add(site)
        if site not in self.observers:
            self.observers[site] = self._observer(site[0])
        self.observers[site](values.detach())


def _tensors(given: Any) -> Iterator[Any]:
    """Those among the arguments of a function, or its results."""
    if isinstance(given, torch.Tensor):
        yield given
    elif isinstance(given, list | tuple):
        for each in given:
            yield from _tensors(each)
    elif isinstance(given, dict):
        yield from _tensors(list(given.values()))
