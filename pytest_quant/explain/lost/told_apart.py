"""Told apart: beyond which values a function gives the same for all, by its name."""

from collections.abc import Iterable, Mapping
from typing import Any

from pytest_quant.quantize.flows import saturations
from pytest_quant.quantize.span import EVERYTHING, Span, given_span


def _names(kinds: Iterable[Any]) -> dict[str, Any]:
    """Name -> the function or method of it, of those that a flow knows; modules call functions."""
    return {getattr(kind, "__name__", kind): kind for kind in kinds if not isinstance(kind, type)}


FIXED = {name: saturations.FIXED[kind] for name, kind in _names(saturations.FIXED).items()}
CLAMPS = {name: saturations.CLAMPS[kind] for name, kind in _names(saturations.CLAMPS).items()}
CLIPS = frozenset(_names(saturations.CLIPS))
INSIDE = frozenset(_names(saturations.INSIDE)) | {"dropout"}  # which its module calls


def told_apart(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Span:
    """As flow fx spares ranges: the values that a call tells apart.

    Args:
        name: of the function.
        args, kwargs: of the call, its tensor first.
    """
    if name in CLAMPS:
        return given_span(args, kwargs, *CLAMPS[name])
    return FIXED.get(name, EVERYTHING)
