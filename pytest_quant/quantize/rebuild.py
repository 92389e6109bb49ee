"""Rebuild: a quantized module with the structure that a recipe gives, for saved weights to go into."""

from typing import Any

import torch

from pytest_quant.machine.conditions import known_warnings_silenced
from pytest_quant.quantize.flows.example import Example
from pytest_quant.quantize.methods.registry import method_of
from pytest_quant.variant.recipe import Recipe


def rebuild(module: Any, recipe: Recipe, example: Example) -> Any:
    """The module converted as the recipe says, with ranges that mean nothing yet; see `Method`."""
    with torch.random.fork_rng(devices=[]), known_warnings_silenced():
        return method_of(recipe).rebuild(module, recipe, example)
