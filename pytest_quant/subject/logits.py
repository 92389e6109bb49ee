"""Logits: where a model's outputs hold them."""

from collections.abc import Mapping
from typing import Any


def logits_of(outputs: Any) -> Any:
    """The logits in a model's outputs: a tensor itself, an object's or dict's ``logits``; of an array
    the tensor."""
    if isinstance(outputs, Mapping):
        return as_tensor(outputs.get("logits", outputs))
    return as_tensor(getattr(outputs, "logits", outputs))


def as_tensor(value: Any) -> Any:
    """A NumPy array as a tensor; anything else as it is."""
    import numpy
    import torch

    is_numbers = isinstance(value, numpy.ndarray) and value.dtype.kind in "biufc"
    if not is_numbers:
        return value
    # in this machine's order of bytes, and in a row, which a view may not be
    return torch.tensor(numpy.array(value, dtype=value.dtype.newbyteorder("="), order="C"))


def shape_of(value: Any) -> str:
    """A tensor's shape, or what else it is, for an error."""
    shape = getattr(value, "shape", None)
    return f"shape {list(shape)}" if shape is not None else type(value).__name__
