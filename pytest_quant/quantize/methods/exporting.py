"""Exporting: FP32 as a file of another runtime, which quantizes it with nothing to observe."""

import copy
from dataclasses import dataclass, replace
from typing import Any

from pytest_quant.machine.conditions import Conditions
from pytest_quant.quantize.batch_mates import told_of_mates
from pytest_quant.quantize.built import Built
from pytest_quant.quantize.flows import onnx_dynamic, onnx_file
from pytest_quant.quantize.flows.example import Example, example_of
from pytest_quant.quantize.flows.flow import refuse
from pytest_quant.quantize.layer_observers import LayerObservers
from pytest_quant.quantize.stages import refuse_what_cannot_run, stage
from pytest_quant.subject.subject import Admitted
from pytest_quant.variant.facts import Facts
from pytest_quant.variant.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Exporting:
    """The method of ``dynamic`` in flow onnx."""

    def make(self, admitted: Admitted, recipe: Recipe, conditions: Conditions) -> Built:
        """As the protocol says."""
        refuse(onnx_file.NAME, onnx_file.missing())
        recipe, seconds = replace(recipe, engine=onnx_file.ENGINE), dict[str, float]()
        module = copy.deepcopy(admitted.module)
        with stage("convert", seconds):
            made = onnx_dynamic.convert(module, recipe, example_of(module, admitted))
            refuse_what_cannot_run(made, admitted, recipe, self.facts(recipe))
        notes = told_of_mates(made, admitted, recipe, self.facts(recipe))
        return Built(made, recipe, seconds=seconds, notes=notes)

    def rebuild(self, module: Any, recipe: Recipe, example: Example) -> Any:
        """As the protocol says."""
        return onnx_dynamic.convert(module, recipe, example)

    def facts(self, recipe: Recipe) -> Facts:
        """As the protocol says."""
        return onnx_dynamic.facts(recipe)

    def observers(self, recipe: Recipe) -> LayerObservers | None:
        """There are none."""
        return None
