"""Workbench: a variant whose layers can be put back to FP32, any set of them, without a build."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from pytest_quant.explain.lost.as_built import AsBuilt, as_built
from pytest_quant.explain.lost.effects import measured_layers, with_shares
from pytest_quant.explain.lost.layer import Layer
from pytest_quant.explain.lost.locate import explain
from pytest_quant.explain.lost.noise import noise_share
from pytest_quant.explain.lost.simulate import simulated, simulations
from pytest_quant.explain.lost.simulation import Simulation, in_float
from pytest_quant.explain.lost.telling_samples import probe_of
from pytest_quant.explain.remedies.hard_samples import HardSamples
from pytest_quant.explain.remedies.limit import Limit, Trial
from pytest_quant.subject.batches import call
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.variant import Variant

TOP = 0.9  # of the effects: of the layers that make it, those that take their output are tried too


class Workbench(Protocol):
    """What a search needs of a variant."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All that can be kept in FP32, measured."""

    def noise(self) -> float:
        """In the outputs for the probe with everything quantized, as a share of the signal."""

    def order(self) -> list[str]:
        """Names of the layers, those first that are likely to matter most."""

    def trial(self, kept: Collection[str], limit: Limit, screen: HardSamples | None) -> Trial:
        """Whether the limit holds with these in FP32; `screen` may tell without a whole evaluation."""


def workbench_of(variant: Variant) -> Workbench | None:
    """The workbench of a variant as it is; None where its layers cannot be told apart."""
    if variant.facts.is_observed and variant.recipe is not None:
        simulation = simulated(variant)
        return None if simulation is None else InFloat(variant, variant.recipe, simulation)
    built = as_built(variant)
    return None if built is None else InPlace(variant, built)


def workbenches_of(variant: Variant, recipes: Sequence[Recipe]) -> list[tuple[Recipe, Workbench]]:
    """Those of a static variant under other observers, scales or engines, where they can be made."""
    made = zip(recipes, simulations(variant, recipes), strict=True)
    return [(recipe, InFloat(variant, recipe, own)) for recipe, own in made if own is not None]


@dataclass(frozen=True, slots=True, eq=False)
class InFloat:
    """A static or QAT variant, simulated in float."""

    variant: Variant
    recipe: Recipe
    simulation: Simulation

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Those of the variant's explanation; measured anew under another recipe."""
        if self.recipe == self.variant.recipe:
            return explain(self.variant).layers
        return self.variant.once(
            f"layers {self.recipe}",
            self._measured,
        )

    def _measured(self) -> tuple[Layer, ...]:
        probe = probe_of(self.variant)
        with in_float():
            return with_shares(measured_layers(self.variant, self.simulation, self.recipe, probe))

    def noise(self) -> float:
        """As the protocol says."""
        return self.simulation.noise(probe_of(self.variant))

    def order(self) -> list[str]:
        """By effect; a layer whose output is what costs is followed by those that take it, since
        they would round it too."""
        ranked = sorted(self.layers, key=lambda layer: layer.effect or 0.0, reverse=True)
        order, total = dict[str, None](), 0.0
        for layer in ranked:
            order[layer.name] = None
            if total < TOP and self._is_for_its_output(layer):
                order |= dict.fromkeys(self.simulation.takers.get(layer.name, ()))
            total += layer.share or 0.0
        return list(order)

    def _is_for_its_output(self, layer: Layer) -> bool:
        probe = probe_of(self.variant)
        alone = self.simulation.alone(layer.name)
        alone.weights = False
        with in_float():
            reference = self.simulation.outputs(
                probe, self.simulation.without(self.simulation.layers)
            )
            effect = noise_share(reference, self.simulation.outputs(probe, alone))
        return effect > (layer.effect or 0.0) / 2

    def trial(self, kept: Collection[str], limit: Limit, screen: HardSamples | None) -> Trial:
        """As the protocol says."""
        with in_float():
            model = self.simulation.model(self.simulation.without(kept))
            return _tried(self.variant.sibling("a trial", model), limit, screen)


@dataclass(frozen=True, slots=True, eq=False)
class InPlace:
    """A dynamic or weight-only variant, with modules exchanged."""

    variant: Variant
    built: AsBuilt

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Those of the variant's explanation."""
        return explain(self.variant).layers

    def noise(self) -> float:
        """As the protocol says."""
        probe, own = probe_of(self.variant), self.variant.subject.forward
        with torch.inference_mode():
            reference = call(self.variant.fp32.model, probe, own)
        with self.variant.running():
            return noise_share(reference, call(self.variant.model, probe, own))

    def order(self) -> list[str]:
        """By effect."""
        return [layer.name for layer in explain(self.variant).ranked]

    def trial(self, kept: Collection[str], limit: Limit, screen: HardSamples | None) -> Trial:
        """As the protocol says."""
        with self.built.without(kept) as model:
            return _tried(self.variant.sibling("a trial", model), limit, screen)


def _tried(candidate: Variant, limit: Limit, screen: HardSamples | None) -> Trial:
    return (screen.trial(candidate) if screen else None) or limit.trial(candidate)
