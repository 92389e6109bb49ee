"""Rebuild: a quantized module with the structure that a recipe gives, for saved weights to go into."""

from typing import Any

import torch

from pytest_quant.machine.conditions import engine_set, known_warnings_silenced
from pytest_quant.machine.engines import engine_for
from pytest_quant.quantize.equalize import equalize
from pytest_quant.quantize.flows import cast, dynamic, weight_only
from pytest_quant.quantize.flows.choice import FLOWS
from pytest_quant.quantize.flows.example import Example
from pytest_quant.variant.recipe import Recipe


def rebuild(module: Any, recipe: Recipe, example: Example) -> Any:
    """The module converted as the recipe says, with ranges that mean nothing yet.

    Args:
        module: a copy of the FP32 model, in eval mode; it is used up.
        recipe: with the flow and engine that were taken; not of kind ``custom``.
        example: a call with arguments like those that it was built with; their values are free.

    Raises:
        QuantStageError: when the module cannot be taken, or the engine is not in this PyTorch.
    """
    with torch.random.fork_rng(devices=[]), known_warnings_silenced():
        if recipe.kind == "cast":
            return cast.convert(module, recipe)
        if recipe.kind == "weight_only":
            return weight_only.convert(module, recipe)
        engine = engine_for(recipe.engine)
        with engine_set(engine):
            if recipe.kind == "dynamic" and recipe.flow == "eager":
                return dynamic.convert(
                    module,
                    recipe,
                    engine,
                    lambda copied: copied(*example.args, **example.kwargs),
                )
            if recipe.equalize:  # which changes what stands between layers too
                equalize(module, example)
            flow = FLOWS[recipe.flow]
            prepared = flow.prepare(module.train(recipe.kind == "qat"), recipe, engine, example)
            with torch.no_grad():
                prepared.eval()(*example.args, **example.kwargs)
            return flow.convert(prepared, example)
