"""Samples: how many a batch has, and what of inputs, targets or outputs belongs to each of them.

Tensors and arrays have one row for each sample, a list of texts or of dicts one item; a PackedSequence
has as many as its first step. What is no longer than that belongs to all.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np


def size_of(inputs: Any) -> int:
    """Samples in a batch: those of the first part that has any; 0 without."""
    import torch

    if is_packed(inputs):
        return int(inputs.batch_sizes[0])
    if isinstance(inputs, torch.Tensor | np.ndarray):
        return int(inputs.shape[0]) if inputs.ndim else 0
    if isinstance(inputs, Mapping):
        parts: Any = inputs.values()
    elif isinstance(inputs, list | tuple):
        if inputs and not any(True for _ in arrays_in(inputs)):
            return _listed(inputs)
        parts = inputs
    elif hasattr(inputs, "__dict__") and not isinstance(inputs, type):
        parts = vars(inputs).values()
    else:
        return 0
    return next((size for size in map(size_of, parts) if size), 0)


def taken(inputs: Any, count: int) -> Any:
    """The first `count` samples of a batch; repeated when it has fewer."""
    size = size_of(inputs)
    return inputs if size == 0 else rows(inputs, [i % size for i in range(count)], size)


def is_by_sample(items: Sequence[Any], size: int) -> bool:
    """Whether a list or tuple has one item for each of `size` samples, rather than columns of them."""
    if len(items) != size or is_packed(items):
        return False
    leaves = list(arrays_in(items))
    if not leaves:
        return True
    if all(leaf.ndim and leaf.shape[0] == size for leaf in leaves):
        return False
    return len({_kind_of(item) for item in items}) == 1 and (
        isinstance(items, list) or all(isinstance(item, Mapping) for item in items)
    )


def rows(value: Any, index: Sequence[int], size: int) -> Any:
    """The same nest of the samples at these positions; what belongs to all `size` stays as it is."""

    def of(leaf: Any) -> Any:
        return leaf[list(index)] if leaf.ndim and leaf.shape[0] == size else leaf

    def whole(part: Any) -> Any:
        if is_packed(part):
            return _packed_rows(part, index) if int(part.batch_sizes[0]) == size else part
        return [part[i] for i in index] if is_by_sample(part, size) else None

    return rebuilt(value, of, whole)


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


def unpacked(value: Any) -> Any:
    """The same nest with each PackedSequence as a list of its samples, tensors [1, time, ...]."""
    import torch

    def listed(part: Any) -> Any:
        if not is_packed(part):
            return None
        return [each[None] for each in torch.nn.utils.rnn.unpack_sequence(part)]

    return rebuilt(value, lambda leaf: leaf, listed)


def tensors_in(value: Any) -> Iterator[Any]:
    """Each tensor of a nest of dicts, lists, tuples and output objects, in order."""
    import torch

    return (leaf for leaf in arrays_in(value) if isinstance(leaf, torch.Tensor))


def shapes_in(value: Any) -> str:
    """The shapes of all tensors and arrays of such a nest, for an error."""
    return ", ".join(str(list(each.shape)) for each in arrays_in(value)) or "no tensor"


def arrays_in(value: Any) -> Iterator[Any]:
    """Each tensor and each NumPy array of such a nest, in order."""
    import torch

    if isinstance(value, torch.Tensor | np.ndarray):
        yield value
    elif isinstance(value, Mapping):
        for key in value:
            yield from arrays_in(value[key])
    elif isinstance(value, list | tuple):
        for item in value:
            yield from arrays_in(item)
    elif hasattr(value, "__dict__"):
        for item in vars(value).values():
            yield from arrays_in(item)


def rebuilt(
    value: Any, change: Callable[[Any], Any], whole: Callable[[Any], Any] = lambda part: None
) -> Any:
    """The same nest, objects included, with each tensor and array changed.

    Args:
        change: of one tensor or array.
        whole: what a list or tuple becomes as a whole; None to look into it.
    """
    import torch

    def again(item: Any) -> Any:
        return rebuilt(item, change, whole)

    if isinstance(value, torch.Tensor | np.ndarray):
        return change(value)
    if isinstance(value, list | tuple):
        other = whole(value)
        if other is not None:
            return other
        if hasattr(value, "_fields"):
            return type(value)(*map(again, value))
        return type(value)(map(again, value))
    if isinstance(value, Mapping):
        entries: Any = copy.copy(value) if isinstance(value, MutableMapping) else dict(value)
        for key in value:
            entries[key] = again(value[key])
        return entries
    if hasattr(value, "__dict__") and not isinstance(value, type | torch.nn.Module):
        return with_parts(value, again)
    return value


def with_parts(value: Any, change: Callable[[Any], Any]) -> Any:
    """A copy of an object with each of its attributes changed."""
    copied = copy.copy(value)
    for name, part in vars(value).items():
        object.__setattr__(copied, name, change(part))
    return copied


def with_entries(value: Mapping[Any, Any], entries: dict[Any, Any]) -> Any:
    """A mapping of the same class with these entries and no others, as of a tokenizer's batch, whose
    entries are attributes too; a dict where its class cannot be changed so."""
    if type(value) is dict or not isinstance(value, MutableMapping):
        return entries
    try:
        copied = copy.copy(value)
        for key in [key for key in copied if key not in entries]:
            del copied[key]
        copied.update(entries)
    except Exception:  # of a class with rules of its own
        return entries
    return copied


def is_packed(value: Any) -> bool:
    """Whether it is a PackedSequence, which as a tuple holds no columns."""
    import torch

    return isinstance(value, torch.nn.utils.rnn.PackedSequence)


def _listed(items: Sequence[Any]) -> int:
    """Samples in a list without arrays: texts, or columns of texts."""
    lengths = {len(item) for item in items if isinstance(item, list | tuple)}
    in_columns = len(lengths) == 1 and all(
        isinstance(item, list | tuple) and all(isinstance(text, str) for text in item)
        for item in items
    )
    return lengths.pop() if in_columns else len(items)


def _kind_of(item: Any) -> Any:
    """What the items of several samples have in common."""
    if isinstance(item, Mapping):
        return frozenset(item)
    return type(item), getattr(item, "dtype", None), getattr(item, "ndim", None)


def _packed_rows(packed: Any, index: Sequence[int]) -> Any:
    from torch.nn.utils import rnn

    padded, lengths = rnn.pad_packed_sequence(packed, batch_first=True)
    chosen = list(index)
    return rnn.pack_padded_sequence(
        padded[chosen], lengths[chosen], batch_first=True, enforce_sorted=False
    )
