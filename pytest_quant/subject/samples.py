"""Samples: a batch's targets or outputs taken apart by sample, and put together again."""

import copy
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np

from pytest_quant.subject.batches import arrays_in


def is_by_sample(items: Sequence[Any], size: int) -> bool:
    """Whether a list or tuple has one item for each of `size` samples, rather than columns of them."""
    if len(items) != size or isinstance(items, str | bytes):
        return False
    leaves = list(arrays_in(items))
    return not leaves or any(not leaf.ndim or leaf.shape[0] != size for leaf in leaves)


def rows(value: Any, index: Sequence[int], size: int) -> Any:
    """The same nest of the samples at these positions; what belongs to all `size` stays as it is."""

    def of(leaf: Any) -> Any:
        return leaf[list(index)] if leaf.ndim and leaf.shape[0] == size else leaf

    def listed(items: Any) -> Any:
        return [items[i] for i in index] if is_by_sample(items, size) else None

    return rebuilt(value, of, listed)


def joined(values: Sequence[Any], sizes: Sequence[int]) -> Any:
    """Several batches' nests as one, in order.

    Raises:
        ValueError: for nests that differ in more than their samples.
    """
    import torch

    first = values[0]
    if isinstance(first, torch.Tensor):
        if all(v.ndim and v.shape[0] == n for v, n in zip(values, sizes, strict=True)):
            if len({(v.shape[1:], v.dtype) for v in values}) > 1:
                raise ValueError("samples of several shapes")
            return torch.cat(list(values))
    elif isinstance(first, np.ndarray):
        if all(v.ndim and v.shape[0] == n for v, n in zip(values, sizes, strict=True)):
            return np.concatenate(list(values))
    elif isinstance(first, Mapping):
        return {key: joined([v[key] for v in values], sizes) for key in first}
    elif isinstance(first, list | tuple):
        if all(is_by_sample(v, n) for v, n in zip(values, sizes, strict=True)):
            return [item for value in values for item in value]
        return type(first)(joined(column, sizes) for column in zip(*values, strict=True))
    raise ValueError(f"a {type(first).__name__} is not by sample")


def rebuilt(
    value: Any, change: Callable[[Any], Any], listed: Callable[[Any], Any] = lambda items: None
) -> Any:
    """The same nest, objects included, with each tensor and array changed.

    Args:
        change: of one tensor or array.
        listed: what a list or tuple becomes as a whole; None to look into it.
    """
    import torch

    def again(item: Any) -> Any:
        return rebuilt(item, change, listed)

    if isinstance(value, torch.Tensor | np.ndarray):
        return change(value)
    if isinstance(value, list | tuple):
        whole = listed(value)
        if whole is not None:
            return whole
        if hasattr(value, "_fields"):
            return type(value)(*map(again, value))
        return type(value)(map(again, value))
    if isinstance(value, Mapping):
        entries: Any = copy.copy(value) if isinstance(value, MutableMapping) else dict(value)
        for key in value:
            entries[key] = again(value[key])
        return entries
    if hasattr(value, "__dict__") and not isinstance(value, type | torch.nn.Module):
        other = copy.copy(value)
        for name, part in vars(value).items():
            object.__setattr__(other, name, again(part))
        return other
    return value
