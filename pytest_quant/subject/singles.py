"""Singles: data that yields one sample at a time, where it is clear that no batch was meant."""

import numbers
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.subject.samples import arrays_in

TOGETHER = 32  # samples of which a batch is made


def is_single(item: Any, like: Any = None) -> bool:
    """Whether what a loader yields is one sample: its label is a number, not a tensor of them; or its
    tensors have the shape of one row of a batch's.

    Args:
        item: (inputs, label), a dict with ``labels``, or inputs alone.
        like: inputs of a batch, where it is known what one looks like.
    """
    inputs = item
    if isinstance(item, Mapping) and "labels" in item:
        if _is_number(item["labels"]):
            return True
        inputs = {key: value for key, value in item.items() if key != "labels"}
    elif isinstance(item, list | tuple) and len(item) == 2:
        if _is_number(item[1]) and next(arrays_in(item[0]), None) is not None:
            return True
        inputs = item[0]
    elif isinstance(item, list | tuple) and len(item) == 1:
        inputs = item[0]
    if like is None:
        return False
    ours, theirs = list(arrays_in(inputs)), list(arrays_in(like))
    return bool(ours) and len(ours) == len(theirs) and all(map(_is_row, ours, theirs))


def together(items: Iterator[Any], fixture: str) -> Iterator[Any]:
    """Batches of such samples, as a DataLoader makes them.

    Raises:
        QuantStageError: they do not go together; says to wrap the data.
    """
    from torch.utils.data import default_collate

    left = True
    while left:
        some = []
        for item in items:
            some.append(item)
            if len(some) == TOGETHER:
                break
        else:
            left = False
        if some:
            try:
                batch = default_collate(some)
            except Exception as error:
                raise QuantStageError(
                    "fixture",
                    f"{fixture} yields single samples that make no batch ({in_brief(error)}). Wrap it in "
                    "a DataLoader with a collate_fn that does, or with batch_size=1.",
                ) from error
            yield batch


def _is_number(value: Any) -> bool:
    if isinstance(value, numbers.Number):
        return True
    return getattr(value, "ndim", None) == 0 and hasattr(value, "dtype")


def _is_row(ours: Any, theirs: Any) -> bool:
    """Whether one array has the form of a row of another one."""
    if ours.ndim != theirs.ndim - 1:
        return False
    if tuple(ours.shape) == tuple(theirs.shape[1:]):
        return True
    is_image = ours.ndim > 1 and ours.shape[0] == theirs.shape[1]  # of another height or width
    return is_image or "int" in str(ours.dtype)  # a text of another length
