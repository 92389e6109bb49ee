"""Exporting: FP32 as a file of another runtime, which that runtime's own tools quantize."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch

from pytest_quant.machine.conditions import Conditions
from pytest_quant.quantize.batch_mates import told_of_mates
from pytest_quant.quantize.built import Built
from pytest_quant.quantize.flows.example import Example, example_of
from pytest_quant.quantize.flows.flow import refuse
from pytest_quant.quantize.layer_observers import LayerObservers
from pytest_quant.quantize.stages import refuse_what_cannot_run, stage
from pytest_quant.quantize.tuned import Tuned
from pytest_quant.quantize.tuning import Tuning
from pytest_quant.runtimes.artefact import Artefact, arguments_of, named_tensors
from pytest_quant.runtimes.fit import Given
from pytest_quant.subject.samples import rebuilt
from pytest_quant.subject.subject import Admitted
from pytest_quant.variant.facts import Facts
from pytest_quant.variant.recipe import Recipe

Calls = Sequence[Sequence[Given]]


class Exporter(Protocol):
    """What the module of a flow that exports offers."""

    NAME: str
    ENGINE: str

    def refusal(self, module: Any, recipe: Recipe) -> str | None:
        """Why it cannot even try, in half a sentence; None when it can."""

    def convert(self, module: Any, recipe: Recipe, example: Example, samples: Calls) -> Artefact:
        """The file, quantized by what these calls are given; none where there is no tuning."""

    def facts(self, recipe: Recipe) -> Facts:
        """What can be said of it."""

    def observers(self, recipe: Recipe, engine: str) -> LayerObservers | None:
        """What sees each layer as the flow's own tools do; None where ranges are found at each call."""


@dataclass(frozen=True, slots=True)
class Exporting:
    """The method of ``dynamic`` in flow onnx, and of ``static`` in flow openvino.

    Args:
        exporter: of the flow.
        tuning: which runs the calls whose inputs calibrate.
    """

    exporter: Exporter
    tuning: Tuning | None = None

    def make(self, admitted: Admitted, recipe: Recipe, conditions: Conditions) -> Built:
        """As the protocol says."""
        recipe = replace(recipe, flow=self.exporter.NAME, engine=self.exporter.ENGINE)
        seconds = dict[str, float]()
        if self.tuning is not None:
            self.tuning.check(admitted, recipe)
        refuse(self.exporter.NAME, self.exporter.refusal(admitted.module, recipe))
        calls, tuned = self._calls(admitted, recipe, conditions, seconds)
        module, facts = copy.deepcopy(admitted.module), self.facts(recipe)
        with stage("convert", seconds):
            made = self.exporter.convert(module, recipe, example_of(module, admitted), calls)
            refuse_what_cannot_run(made, admitted, recipe, facts)
        notes = (*tuned.notes, *told_of_mates(made, admitted, recipe, facts))
        return Built(made, recipe, tuned_on=tuned.on, seconds=seconds, notes=notes, seen=tuned.seen)

    def rebuild(self, module: Any, recipe: Recipe, example: Example) -> Any:
        """As the protocol says; ranges are those of the example."""
        given = named_tensors(example.args, example.kwargs, arguments_of(module))
        return self.exporter.convert(module, recipe, example, [given])

    def facts(self, recipe: Recipe) -> Facts:
        """As the protocol says."""
        return self.exporter.facts(recipe)

    def observers(self, recipe: Recipe) -> LayerObservers | None:
        """As the protocol says."""
        return self.exporter.observers(recipe, self.exporter.ENGINE)

    def _calls(
        self, admitted: Admitted, recipe: Recipe, conditions: Conditions, seconds: dict[str, float]
    ) -> tuple[Calls, Tuned]:
        """What the model is given while it is tuned."""
        if self.tuning is None:
            return [], Tuned()
        module, calls = copy.deepcopy(admitted.module), list[list[Given]]()
        arguments = arguments_of(module)

        def note(_: Any, args: Any, kwargs: Any) -> None:
            own_args, own_kwargs = rebuilt((args, kwargs), torch.Tensor.clone)
            calls.append(named_tensors(own_args, own_kwargs, arguments))

        with stage(self.tuning.stage, seconds):
            module.register_forward_pre_hook(note, with_kwargs=True)
            who = f"{admitted.subject.label} {recipe.kind}"
            tuned = self.tuning.run(module, admitted, recipe, who, conditions.progress)
        return calls, tuned
