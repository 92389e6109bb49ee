"""Observing: a flow puts observers into a model, they find ranges, and the flow converts."""

import copy
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch

from pytest_quant.machine import torch_api
from pytest_quant.machine.conditions import Conditions, engine_set
from pytest_quant.machine.engines import engine_for
from pytest_quant.quantize.batch_mates import told_of_mates
from pytest_quant.quantize.built import Built
from pytest_quant.quantize.clipping import refuse_clipping, told_of_saturation
from pytest_quant.quantize.equalize import equalize
from pytest_quant.quantize.faithful import (
    AnotherModel,
    largest_inputs,
    refuse_another_model,
    refuse_unlike_rehearsal,
)
from pytest_quant.quantize.flows.example import Example, example_of
from pytest_quant.quantize.flows.flow import (
    Flow,
    FlowRefusal,
    observers_of,
    refuse,
    unobserved,
)
from pytest_quant.quantize.flows.mode_askers import mode_askers, told
from pytest_quant.quantize.later_calls import call_parts, keep_calls, with_later_calls
from pytest_quant.quantize.layer_observers import LayerObservers
from pytest_quant.quantize.lengths import refuse_other_lengths
from pytest_quant.quantize.names import kept, refuse_int8
from pytest_quant.quantize.rehearsal import rehearsed
from pytest_quant.quantize.stages import refuse_what_cannot_run, refuse_what_cannot_train, stage
from pytest_quant.quantize.tuned import Tuned
from pytest_quant.quantize.tuning import Tuning
from pytest_quant.quantize.wishes import refuse_other_observers, refuse_other_scales
from pytest_quant.subject.batches import call
from pytest_quant.subject.subject import Admitted
from pytest_quant.variant.facts import Facts
from pytest_quant.variant.recipe import Recipe

Look = Callable[[Built], None]
MENDED = (
    3  # layers whose int8 kernels are wrong and which are kept FP32, before the flow is refused
)


@dataclass(frozen=True, slots=True)
class Observing:
    """The method of ``static`` and ``qat``, and of ``dynamic`` in flow pt2e.

    Args:
        flow: that prepares and converts.
        tuning: how ranges are found; None where that happens at each call.
    """

    flow: Flow
    tuning: Tuning | None = None

    @property
    def trains(self) -> bool:
        """Whether it prepares for training."""
        return self.tuning is not None and self.tuning.trains

    def refusal(self, module: Any, recipe: Recipe) -> str | None:
        """As the protocol says."""
        return self.flow.refusal(module, recipe)

    def make(
        self, admitted: Admitted, recipe: Recipe, conditions: Conditions, look: Look | None = None
    ) -> Built:
        """As the protocol says; `look` as in `build`."""
        engine = engine_for(recipe.engine or conditions.engine)
        if self.tuning is not None:
            self.tuning.check(admitted, recipe)
        refuse(self.flow.NAME, self.refusal(admitted.module, recipe))
        return self.attempt(admitted, recipe, engine, conditions, look)

    def attempt(
        self,
        admitted: Admitted,
        recipe: Recipe,
        engine: str,
        conditions: Conditions,
        look: Look | None = None,
    ) -> Built:
        """prepare, then calibrate or train, then convert; what comes out must run."""
        engine = self.flow.ENGINE or engine
        recipe, notes = replace(recipe, flow=self.flow.NAME, engine=engine), list[str]()
        if self.trains and admitted.subject.train is None:
            recipe = replace(recipe, device=recipe.device or conditions.train_device)
        with engine_set(engine):
            while True:
                try:
                    built = self._made(admitted, recipe, conditions, look)
                    return replace(built, notes=(*built.notes, *notes))
                except AnotherModel as error:
                    place = error.place
                    known = place is not None and place.is_module and len(notes) < MENDED
                    if place is None or not known or self.trains or self.flow.ENGINE:
                        raise
                    recipe = replace(recipe, keep_fp32=(*recipe.keep_fp32, place.module))
                    notes.append(
                        f"{place} stayed FP32, since its int8 kernel computes something else"
                    )

    def rebuild(self, module: Any, recipe: Recipe, example: Example) -> Any:
        """As the protocol says."""
        engine = engine_for(recipe.engine)
        with engine_set(engine):
            if recipe.equalize:  # which changes what stands between layers too
                equalize(module, example, kept(module, recipe.keep_fp32))
            prepared = self.flow.prepare(module.train(self.trains), recipe, engine, example)
            with torch.no_grad():
                prepared.eval()(*example.args, **example.kwargs)
                call_parts(prepared, example)
            return keep_calls(self.flow.convert(prepared, example), example)

    def facts(self, recipe: Recipe) -> Facts:
        """As the protocol says."""
        return replace(self.flow.facts(recipe), trains=self.trains)

    def observers(self, recipe: Recipe) -> LayerObservers | None:
        """As the protocol says."""
        return self.flow.observers(recipe, str(recipe.engine)) if self.tuning else None

    def _made(
        self,
        admitted: Admitted,
        recipe: Recipe,
        conditions: Conditions,
        look: Look | None,
        *,
        looks_further: bool = True,
    ) -> Built:
        module, seconds = copy.deepcopy(admitted.module), dict[str, float]()
        example = example_of(module, admitted)
        with stage("prepare", seconds):
            observes = self.tuning is not None and not self.trains
            if looks_further and observes and self.facts(recipe).by_parts:
                example = with_later_calls(module, example, admitted, recipe)
            notes = told(module, mode_askers(module, example)) if self.trains else ()
            if recipe.equalize:
                notes += (equalize(module, example, kept(module, recipe.keep_fp32)),)
            prepared = self._prepared(module, admitted, recipe, example)
        tuned = self._tuned(prepared, admitted, recipe, conditions, seconds)
        if example.parts and unobserved(prepared):  # by samples in another order, say
            return self._made(admitted, recipe, conditions, look, looks_further=False)
        rehearsal = rehearsed(prepared, self.flow, self.trains) if self.tuning else None
        with stage("convert", seconds):
            with torch_api.trained_scales(prepared) if self.trains else nullcontext():
                converted = self.flow.convert(prepared, example)
            facts = self.facts(recipe)
            keep_calls(converted, example)
            kept_names = kept(admitted.module, recipe.keep_fp32)
            refuse_int8(converted, kept_names, recipe.flow)
            refuse_other_scales(converted, recipe, recipe.flow)
            if look is not None and facts.is_compiled:
                with converted.uncompiled():
                    look(Built(converted, recipe, seconds=seconds))
            refuse_what_cannot_run(converted, admitted, recipe, facts)
            notes += told_of_mates(converted, admitted, recipe, facts)
            largest = largest_inputs(admitted, conditions)
            if rehearsal is not None:
                own = admitted.subject.forward
                notes += told_of_saturation(
                    rehearsal, lambda model: call(model, largest, own), self.trains
                )
            if rehearsal is not None and self.flow.OBSERVES_ALL:
                notes += refuse_unlike_rehearsal(
                    converted, rehearsal, admitted, recipe, facts, largest
                )
        fake_quantized = rehearsal if self.trains else None
        notes = (*notes, *tuned.notes)
        return Built(converted, recipe, fake_quantized, tuned.on, seconds, notes, seen=tuned.seen)

    def _prepared(self, module: Any, admitted: Admitted, recipe: Recipe, example: Example) -> Any:
        """The module with observers or fake-quantize modules, which computes what FP32 does."""
        prepared = self.flow.prepare(module.train(self.trains), recipe, str(recipe.engine), example)
        if not observers_of(prepared):
            raise FlowRefusal(
                "prepare",
                self.flow.NAME,
                f"found nothing to quantize: no operation in quant_model"
                f"{' outside keep_fp32' if recipe.keep_fp32 else ''} has an int8 kernel (Linear, "
                "convolutions and what goes with them)",
            )
        refuse_other_observers(prepared, recipe, self.flow.NAME)
        if not recipe.equalize:  # which may put a ReLU in the place of a ReLU6
            refuse_another_model(prepared, admitted, self.flow)
        refuse_other_lengths(prepared, admitted, recipe)
        if self.trains:
            refuse_what_cannot_train(prepared, admitted, recipe)
        return prepared

    def _tuned(
        self,
        prepared: Any,
        admitted: Admitted,
        recipe: Recipe,
        conditions: Conditions,
        seconds: dict[str, float],
    ) -> Tuned:
        """Tune in place."""
        if (
            self.tuning is None
        ):  # observers of weights look when the model runs; there are no others
            with torch.no_grad():
                call(prepared, admitted.first_inputs, admitted.subject.forward)
            return Tuned()
        who = f"{admitted.subject.label} {recipe.kind}"
        with stage(self.tuning.stage, seconds):
            tuned = self.tuning.run(prepared, admitted, recipe, who, conditions.progress)
        self.tuning.refuse_unobserved(prepared, admitted)
        if not self.trains:
            own = admitted.subject.forward
            refuse_clipping(prepared, self.flow, lambda model: call(model, tuned.inputs, own))
        return tuned
