"""Logits: where a model's outputs hold them."""

from collections.abc import Mapping
from typing import Any


def logits_of(outputs: Any) -> Any:
    """The logits in a model's outputs: a tensor itself, an object's or dict's ``logits``."""
    if isinstance(outputs, Mapping):
        return outputs.get("logits", outputs)
    return getattr(outputs, "logits", outputs)


def shape_of(value: Any) -> str:
    """A tensor's shape, or what else it is, for an error."""
    shape = getattr(value, "shape", None)
    return f"shape {list(shape)}" if shape is not None else type(value).__name__
