"""Told apart: beyond which values a function gives the same for all, by its name."""

import math
from collections.abc import Mapping
from typing import Any

from pytest_quant.quantize.span import EVERYTHING, Span, given_span

FIXED = {
    "relu": Span(low=0),
    "relu6": Span(0, 6),
    "hardswish": Span(-3, math.inf),
    "hardsigmoid": Span(-3, 3),
}
CLAMPS: dict[str, tuple[tuple[str, str], Any]] = {
    "hardtanh": (("min_val", "max_val"), (-1.0, 1.0)),
    "clamp": (("min", "max"), (None, None)),
}
# Which also give no other values than they tell apart.
CLIPS = ("relu", "relu6", *CLAMPS)
# What gives no value outside the range of those that it takes.
INSIDE = (
    "max_pool1d",
    "max_pool2d",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "dropout",
    "flatten",
)


def told_apart(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Span:
    """As flow fx spares ranges: the values that a call tells apart.

    Args:
        name: of the function.
        args, kwargs: of the call, its tensor first.
    """
    if name in CLAMPS:
        return given_span(args, kwargs, *CLAMPS[name])
    return FIXED.get(name, EVERYTHING)
