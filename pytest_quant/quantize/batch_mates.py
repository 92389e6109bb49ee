"""Batch mates: how much a sample's outputs depend on the samples that share its batch."""

from typing import Any

import torch

from pytest_quant.quantize.faithful import EQUAL
from pytest_quant.subject.batches import call, size_of
from pytest_quant.subject.output_numbers import numbers_in
from pytest_quant.subject.samples import rows
from pytest_quant.subject.subject import Admitted
from pytest_quant.variant.facts import Facts, Ranges
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.running import running_as_built
from pytest_quant.variant.sqnr import sqnr

SAMPLES = 8  # of the first batch that are run alone
APART = 20.0  # dB: rounding alone keeps more


def told_of_mates(made: Any, admitted: Admitted, recipe: Recipe, facts: Facts) -> tuple[str, ...]:
    """A note, where ranges are found at each call and a batch's largest sample costs the others a lot.

    Each tensor of a batch has one range, so that beside a sample of a thousand times the size all
    others round to zero.
    """
    inputs, own = admitted.first_inputs, admitted.subject.forward
    size = size_of(inputs)
    if facts.ranges is not Ranges.AT_EACH_CALL or size < 2:
        return ()
    places = range(0, size, max(1, size // SAMPLES))

    def apart(model: Any) -> float:
        together = list(numbers_in(call(model, inputs, own)))
        if not all(tensor.ndim and tensor.shape[0] == size for tensor in together):
            return float("inf")
        found = []
        for place in places:
            alone = list(numbers_in(call(model, rows(inputs, [place], size), own)))
            found.append(sqnr(alone, [tensor[place : place + 1] for tensor in together]))
        return min(found)

    try:
        with torch.inference_mode():
            fp32 = apart(admitted.module)
        with running_as_built(made, recipe, facts):
            distance = apart(made)
    except Exception:  # a model that takes whole batches only
        return ()
    if fp32 < EQUAL or distance >= APART:
        return ()
    return (
        f"a sample's outputs depend on who shares its batch, in which all have one range: of {len(places)} "
        f"samples of the first batch, run alone and together, the outputs agree to {distance:.0f} dB at "
        "worst; look for outliers in the data, or use static",
    )
