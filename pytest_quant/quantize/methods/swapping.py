"""Swapping: dynamic quantization in eager mode, which swaps layers and has nothing to prepare."""

import copy
from dataclasses import dataclass, replace
from typing import Any

from pytest_quant.machine.conditions import Conditions, engine_set
from pytest_quant.machine.engines import engine_for
from pytest_quant.quantize.batch_mates import told_of_mates
from pytest_quant.quantize.built import Built
from pytest_quant.quantize.flows import dynamic
from pytest_quant.quantize.flows.example import Example
from pytest_quant.quantize.flows.flow import refuse
from pytest_quant.quantize.layer_observers import LayerObservers
from pytest_quant.quantize.stages import refuse_what_cannot_run, stage
from pytest_quant.quantize.wishes import refuse_other_scales
from pytest_quant.subject.batches import call
from pytest_quant.subject.subject import Admitted
from pytest_quant.variant.facts import Facts
from pytest_quant.variant.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Swapping:
    """The method of ``dynamic`` in flow eager."""

    def refusal(self, module: Any, recipe: Recipe) -> str | None:
        """As the protocol says."""
        return dynamic.refusal()

    def make(self, admitted: Admitted, recipe: Recipe, conditions: Conditions) -> Built:
        """As the protocol says."""
        engine = engine_for(recipe.engine or conditions.engine)
        refuse(dynamic.NAME, self.refusal(admitted.module, recipe))
        return self.attempt(admitted, recipe, engine, conditions)

    def attempt(
        self, admitted: Admitted, recipe: Recipe, engine: str, conditions: Conditions
    ) -> Built:
        """As the protocol says."""
        recipe, seconds = replace(recipe, flow=dynamic.NAME, engine=engine), dict[str, float]()

        def run(copied: Any) -> Any:
            return call(copied, admitted.first_inputs, admitted.subject.forward)

        with engine_set(engine):
            module = copy.deepcopy(admitted.module)
            with stage("convert", seconds):
                converted = dynamic.convert(module, recipe, engine, run)
                refuse_other_scales(converted, recipe, recipe.flow)
                refuse_what_cannot_run(converted, admitted, recipe, self.facts(recipe))
            notes = told_of_mates(converted, admitted, recipe, self.facts(recipe))
        return Built(converted, recipe, seconds=seconds, notes=notes)

    def rebuild(self, module: Any, recipe: Recipe, example: Example) -> Any:
        """As the protocol says."""
        engine = engine_for(recipe.engine)
        with engine_set(engine):
            return dynamic.convert(
                module, recipe, engine, lambda m: m(*example.args, **example.kwargs)
            )

    def facts(self, recipe: Recipe) -> Facts:
        """As the protocol says."""
        return dynamic.facts(recipe)

    def observers(self, recipe: Recipe) -> LayerObservers | None:
        """There are none."""
        return None
