"""Candidates: recipes that may mend a variant without a layer in FP32."""

from dataclasses import replace

from pytest_quant.machine.cpu import has_vnni
from pytest_quant.machine.engines import supported_engines
from pytest_quant.quantize.activations import default_observer
from pytest_quant.quantize.methods.registry import facts_of
from pytest_quant.variant.recipe import OBSERVERS, Recipe

SEVEN_BITS = ("x86", "fbgemm")  # engines that give activations 7 bits


def cheap_candidates(recipe: Recipe, *, weights_first: bool) -> list[Recipe]:
    """Static recipes that differ in one setting: scales of weights, channels' ranges, observer,
    engine.

    Bias correction and new BatchNorm statistics are not among them: with a scale for each channel they
    changed nothing measurable on the models that they were tried on.

    Args:
        recipe: static, with the flow and engine that were taken.
        weights_first: whether the rounding of weights costs more than that of activations.
    """
    if not facts_of(recipe).could_observe_otherwise:
        return []
    channels = [] if recipe.per_channel else [replace(recipe, per_channel=True)]
    equalized = [] if recipe.equalize else [replace(recipe, equalize=True)]
    observers = [
        replace(recipe, observer=observer)
        for observer in OBSERVERS
        if observer not in (default_observer(recipe), "moving_average")
    ]
    engines = []
    if recipe.engine in SEVEN_BITS and has_vnni() and "onednn" in supported_engines():
        engines = [replace(recipe, engine="onednn")]
    if weights_first:
        return [*channels, *equalized, *observers, *engines]
    return [*observers, *equalized, *channels, *engines]
