"""Observed: simulations whose ranges each recipe's own observers have found on calibration data."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from pytest_quant.errors import QuantStageError
from pytest_quant.explain.lost.feeding import NO_LAYER, Feeding, nested_tensors, sites_of
from pytest_quant.explain.lost.grid import Grid
from pytest_quant.explain.lost.simulation import CLAMPED, Simulation
from pytest_quant.explain.lost.told_apart import CLIPS, INSIDE, told_apart
from pytest_quant.explain.lost.tracking import FUSED, WEIGHTED, LayerTracking, Site, Tag, tag_of
from pytest_quant.explain.lost.weighted import is_weighted, owner_of, owners_of, weight_of
from pytest_quant.quantize.layer_observers import LayerObservers
from pytest_quant.quantize.methods.registry import facts_of, method_of
from pytest_quant.quantize.span import EVERYTHING, Span, hull
from pytest_quant.subject.batches import call
from pytest_quant.subject.subject import Subject
from pytest_quant.variant.facts import Facts
from pytest_quant.variant.recipe import Recipe

GIVEN = "_pytest_quant_given"  # of a tensor: the span that a clip has left of its values


def simulations_of(
    module: Any,
    subject: Subject,
    recipes: Sequence[Recipe],
    names: Iterable[str],
    batches: Iterable[Any],
) -> list[Simulation]:
    """Observe the activations of a float model once, for all recipes; set up the rounding of its layers.

    Args:
        module: a copy of the FP32 model in eval mode, or of what QAT made of its weights.
        recipes: static or QAT, with the flow and engine that were taken; of one kind and flow.
        names: of the layers that became int8.
        batches: inputs to observe.

    Returns:
        One for each recipe.
    """
    layers = {name: module.get_submodule(name) for name in names}
    layers = {n: layer for n, layer in layers.items() if is_weighted(layer)}
    facts, observers = facts_of(recipes[0]), [_observers(recipe) for recipe in recipes]
    activations = {_of_activations(r): own for r, own in zip(recipes, observers, strict=True)}
    of_weights = {_of_weights(r): own for r, own in zip(recipes, observers, strict=True)}
    watch = _Observing(module, facts, activations, layers)
    with torch.no_grad():
        for number, inputs in enumerate(batches):
            for learns in (True, False) if number == 0 and facts.spares_ranges else (False,):
                watch.learns = learns
                watch.seen.clear()
                watch.forward(lambda inputs=inputs: call(module, inputs, subject.forward))  # type: ignore[misc]
        called = {name: layers[name] for name in watch.order if name in layers}
        weights = {
            key: {
                name: _rounded_weight(layer, own.weight(layer), watch.scales.get(name))
                for name, layer in called.items()
            }
            for key, own in of_weights.items()
        }
        grids = {key: watch.grids(key) for key in activations}
    takers = {name: tuple(taking) for name, taking in watch.takers.items()}
    return [
        Simulation(
            module,
            subject,
            called,
            weights[_of_weights(recipe)],
            watch.scales,
            grids[_of_activations(recipe)],
            takers,
            facts.is_compiled,
            watch.feeding if facts.floats_tail else None,
        )
        for recipe in recipes
    ]


def _of_activations(recipe: Recipe) -> Recipe:
    """What of a recipe the ranges of activations depend on."""
    return replace(recipe, per_channel=True)


def _of_weights(recipe: Recipe) -> Recipe:
    """What of a recipe the rounding of weights depends on."""
    return replace(recipe, observer=None)


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
    """Lets observers see the activations of a float model, place by place.

    Args:
        module: the model.
        facts: of the recipes.
        sets: of observers, by what they are for.
        layers: name -> module, of those that became int8.
    """

    def __init__(
        self,
        module: Any,
        facts: Facts,
        sets: Mapping[Recipe, LayerObservers],
        layers: Mapping[str, Any],
    ) -> None:
        compiled = facts.is_compiled
        super().__init__(owners_of(layers), CLAMPED if compiled else FUSED, not compiled)
        self.facts = facts
        self.sets = sets
        self.layers = layers
        self.observers: dict[Site, dict[Recipe, Any]] = {}
        self.scales: dict[str, Any] = {}
        self.order: dict[str, None] = {}
        self.takers: dict[str, dict[str, None]] = {}
        self.learns = False  # which span each place needs, and observes nothing
        self.spans: dict[Site, Span] = {}
        self.seen: set[Site] = set()
        self.feeding = Feeding()
        self.all_names = owners_of({n: m for n, m in module.named_modules() if is_weighted(m)})
        self._keeps: frozenset[Site] = frozenset()  # the operation called, if it keeps the levels
        self._span = EVERYTHING  # that the operation which is being called tells apart

    def grids(self, key: Recipe) -> dict[Site, Grid]:
        """Of activations by place, as one set of observers has found them."""
        return {
            site: grid
            for site, observers in self.observers.items()
            if (grid := Grid.of(observers[key]))
        }

    def called(self, name: str, given: Any, output: Any) -> None:
        by_layer = name in WEIGHTED
        if by_layer:
            owners = [owner_of(tensor, self.all_names) for tensor in nested_tensors(given)]
            self.feeding.took(next(filter(None, owners), NO_LAYER), given)
        self.feeding.made(self._keeps | sites_of(output), given, output, by_layer=by_layer)

    def entering(self, layer: str, values: Any, site: Site, tag: Tag | None) -> Any:
        self.order[layer] = None
        if tag is not None:
            self.takers.setdefault(tag.layer, {})[layer] = None
        if tag is None or not tag.rounded:
            self._observe(site, values)
        return values

    def is_float(self, site: Site) -> bool:
        self._keeps = frozenset([site])
        return False

    def passing(self, values: Any, tag: Tag, site: Site) -> Any:
        self._observe(tag.site, values)
        return values

    def normalized(self, layer: str, scale: Any) -> None:
        self.scales[layer] = scale

    def passed(self, values: Any, tag: Tag, site: Site) -> Any:
        """In flow fx one observer sees what such an operation takes, and then what it gives."""
        is_fx = self.facts.spares_ranges
        if is_fx and not self.learns and site not in self.seen and not self._is_loose(site):
            self.seen.add(site)
            self._show(tag.site, values)
        return values

    def _is_loose(self, site: Site) -> bool:
        return self.facts.floats_tail and site in self.feeding.none_of(self.layers)

    def leaving(self, values: Any, tag: Tag) -> Any:
        self._observe(tag.site, values)
        return values

    def _followed(
        self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        own = self._span = told_apart(name, args, kwargs)
        self._keeps = frozenset()
        taken = next(nested_tensors((args, kwargs)), None)
        given, tag = getattr(taken, GIVEN, EVERYTHING), tag_of(taken)
        output = super()._followed(name, func, args, kwargs)
        # a ReLU that becomes part of a layer is none to the flow
        is_part = name in self.fused and tag is not None and tag.open and bool(tag.layer)
        if name in CLIPS and not is_part:
            given = own
        elif name not in INSIDE:
            given = EVERYTHING
        for tensor in nested_tensors(output):
            setattr(tensor, GIVEN, given)
        return output

    def moving(self, values: Any, tag: Tag) -> None:
        self._observe(tag.site, values)

    def ending(self, values: Any, tag: Tag) -> Any:
        self._span = EVERYTHING
        return self.leaving(values, tag)

    def _observe(self, site: Site, values: Any) -> None:
        """Once for each batch, in the span that all who take it need."""
        if not values.is_floating_point():
            return
        if self.learns:
            span = getattr(values, GIVEN, EVERYTHING)
            span = self._span if span == EVERYTHING else span
            self.spans[site] = hull((self.spans.get(site, span), span))
            return
        if site in self.seen:
            return
        self.seen.add(site)
        self._show(site, values)

    def _show(self, site: Site, values: Any) -> None:
        if site not in self.observers:
            layer = self.layers.get(site[0])
            self.observers[site] = {key: own.activation(layer) for key, own in self.sets.items()}
        span = self.spans.get(site, EVERYTHING)
        shown = values.detach() if span == EVERYTHING else values.detach().clamp(*span)
        for observer in self.observers[site].values():
            observer(shown)
