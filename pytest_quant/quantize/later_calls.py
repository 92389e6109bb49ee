"""Later calls: how submodules are called that the first eval batch does not need, such as an expert."""

from dataclasses import replace
from functools import partial
from typing import Any

import torch

from pytest_quant.quantize.calibrate import calibration_batches, calibration_source
from pytest_quant.quantize.flows.example import Example, calls_of
from pytest_quant.quantize.flows.fx import is_whole
from pytest_quant.quantize.flows.parts import is_part
from pytest_quant.quantize.saved.call import call_as_json
from pytest_quant.subject.batches import call
from pytest_quant.subject.modes import in_eval
from pytest_quant.subject.shift.unmoved import unmoved
from pytest_quant.subject.subject import Admitted
from pytest_quant.variant.recipe import Recipe

KEPT = "calls_of_parts"  # an attribute of the converted model


def with_later_calls(module: Any, example: Example, admitted: Admitted, recipe: Recipe) -> Example:
    """The example with the calls of all submodules, those too that calibration alone calls; as it is where
    there are none.

    Training is another matter: it freezes ranges before it ends, when a rare expert may have none yet.

    Args:
        module: a copy of the model.
        example: a call of it.
    """
    modules = dict(module.named_modules())

    def first() -> None:
        module(*example.args, **example.kwargs)

    with in_eval(module):
        called = calls_of(modules, first)
        left = {
            n: m
            for n, m in modules.items()
            if n not in called and any(True for _ in m.parameters())
        }
        if not any(_is_layer(name, modules) for name in left):
            return example
        _, data = calibration_source(admitted.subject)
        try:
            with torch.random.fork_rng(devices=[]), unmoved(data):
                run = partial(_run, module, admitted, recipe.calibration_samples)
                later = calls_of(left, run, alike=True)
        except Exception:  # told where it is calibrated
            return example
        if not later:
            return example
        return replace(example, parts=calls_of(modules, first, alike=True) | later)


def keep_calls(converted: Any, example: Example) -> Any:
    """Let a converted model know how its parts are called, for the file that it is saved in."""
    if example.parts:
        setattr(converted, KEPT, call_as_json(example)["parts"])
    return converted


def call_parts(prepared: Any, example: Example) -> None:
    """Call each part that was traced as the example does, so that observers of weights look at them."""
    for name, part in prepared.named_modules():
        if is_part(part) and (each := example.parts.get(name)) is not None:
            part(*each.args, **each.kwargs)


def kept_calls(model: Any) -> dict[str, Any]:
    """What `keep_calls` has kept, as JSON has it."""
    return dict(getattr(model, KEPT, {}))


def _is_layer(name: str, modules: dict[str, Any]) -> bool:
    """Whether a module has parameters of its own and is no part of one of PyTorch's, which may read it."""
    outer = name.rpartition(".")[0]
    own = any(True for _ in modules[name].parameters(recurse=False))
    return own and not (outer and is_whole(modules[outer]))


def _run(module: Any, admitted: Admitted, samples: int) -> None:
    for inputs, _ in calibration_batches(admitted, samples):
        call(module, inputs, admitted.subject.forward)
