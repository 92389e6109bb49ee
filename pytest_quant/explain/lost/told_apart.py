"""Told apart: beyond which values a function gives the same for all, by its name."""

import math
from collections.abc import Mapping
from typing import Any

from pytest_quant.quantize.span import EVERYTHING, Span, given_span

FIXED = {
    **dict.fromkeys(("relu", "relu_"), Span(low=0)),
    **dict.fromkeys(("relu6", "relu6_"), Span(0, 6)),
    "hardswish": Span(-3, math.inf),
    "hardsigmoid": Span(-3, 3),
}
CLAMPS: dict[str, tuple[tuple[str, str], Any]] = {
    **dict.fromkeys(("hardtanh", "hardtanh_"), (("min_val", "max_val"), (-1.0, 1.0))),
    **dict.fromkeys(("clamp", "clamp_"), (("min", "max"), (None, None))),
}


def told_apart(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Span:
    """As flow fx spares ranges: the values that a call tells apart.

    Args:
        name: of the function.
        args, kwargs: of the call, its tensor first.
    """
    if name in CLAMPS:
        return given_span(args, kwargs, *CLAMPS[name])
    return FIXED.get(name, EVERYTHING)
