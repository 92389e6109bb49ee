"""Rewriting: weights, or the whole model, stored in fewer bits; nothing to observe or to train."""

import copy
from dataclasses import dataclass
from typing import Any, Protocol

from pytest_quant.machine.conditions import Conditions
from pytest_quant.quantize.built import Built
from pytest_quant.quantize.flows.example import Example
from pytest_quant.quantize.layer_observers import LayerObservers
from pytest_quant.quantize.stages import refuse_what_cannot_run, stage
from pytest_quant.subject.subject import Admitted
from pytest_quant.variant.facts import Facts
from pytest_quant.variant.recipe import Recipe


class Rewriter(Protocol):
    """What the module of a kind that rewrites offers."""

    def convert(self, module: Any, recipe: Recipe) -> Any:
        """The module rewritten as the recipe says."""

    def facts(self, recipe: Recipe) -> Facts:
        """What can be said of it."""


@dataclass(frozen=True, slots=True)
class Rewriting:
    """The method of ``weight_only`` and ``cast``."""

    rewriter: Rewriter

    def make(self, admitted: Admitted, recipe: Recipe, conditions: Conditions) -> Built:
        """As the protocol says."""
        seconds = dict[str, float]()
        with stage("convert", seconds):
            made = self.rewriter.convert(copy.deepcopy(admitted.module), recipe)
            refuse_what_cannot_run(made, admitted, recipe, self.facts(recipe))
        return Built(made, recipe, seconds=seconds)

    def rebuild(self, module: Any, recipe: Recipe, example: Example) -> Any:
        """As the protocol says."""
        return self.rewriter.convert(module, recipe)

    def facts(self, recipe: Recipe) -> Facts:
        """As the protocol says."""
        return self.rewriter.facts(recipe)

    def observers(self, recipe: Recipe) -> LayerObservers | None:
        """There are none."""
        return None
