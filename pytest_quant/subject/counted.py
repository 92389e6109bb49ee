"""Counted: every batch has samples, as many as targets, in a form that the model takes; or an error that
says how to write it."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from pytest_quant.errors import QuantStageError
from pytest_quant.subject.output_form import other_form
from pytest_quant.subject.samples import arrays_in, is_by_sample, is_packed, shapes_in, size_of

TAKES_ALL = "quant_forward, as in lambda model, inputs: model(inputs)"


def check_form(inputs: Any, own_forward: Callable[..., Any] | None) -> None:
    """Refuse inputs whose items would be handed to the model one by one, as arguments that they are not.

    Raises:
        QuantStageError: says what to override.
    """
    if own_forward is not None:
        return
    if isinstance(inputs, str) or (
        isinstance(inputs, list | tuple) and inputs and next(arrays_in(inputs), None) is None
    ):
        what = (
            "a text" if isinstance(inputs, str) else f"a list of {len(inputs)} {_kind(inputs[0])}"
        )
        raise QuantStageError(
            "evaluate",
            f"quant_eval_data gave {what} as inputs, and a list is taken for the model's arguments. Say "
            f"with {TAKES_ALL.replace('model(inputs)', 'model(tokenized(inputs))')}, how the model takes "
            "them, or let quant_batch return tensors.",
        )
    if any(isinstance(each, np.ndarray) for each in arrays_in(inputs)):
        raise QuantStageError(
            "evaluate",
            "quant_eval_data gave NumPy arrays as inputs, which a module does not take. Let quant_batch "
            "return torch.from_numpy(inputs), or say with quant_forward how the model takes them.",
        )


def check_samples(inputs: Any, targets: Any, number: int | None = None) -> None:
    """Each sample needs its target.

    Args:
        inputs, targets: of a batch.
        number: of the batch in its pass, from 1 on; None where that is not known.

    Raises:
        QuantStageError: for a batch without samples, or with another number of targets; says what to
            write.
    """
    _refuse_nested(inputs)
    size = size_of(inputs)
    if is_empty(inputs):
        which = "a batch" if number is None else f"batch {number}"
        raise QuantStageError(
            "evaluate",
            f"{which} of quant_eval_data has no samples: its inputs are of shape {shapes_in(inputs)}. "
            "Leave such a batch out of what the loader yields.",
        )
    if not size:
        raise QuantStageError(
            "evaluate",
            f"quant_eval_data gave a {type(inputs).__name__} as inputs, in which no samples can be "
            "counted; expected tensors of shape [batch, ...], or a list with an item for each sample. "
            "Override the fixture quant_batch to split such a batch into (inputs, targets).",
        )
    _refuse_sparse(inputs, size)
    if (other := other_form(targets)) is not None:
        raise QuantStageError(
            "evaluate",
            f"quant_eval_data gave {other.what} as targets, which cannot be told apart by sample. Let "
            f"quant_batch return (inputs, targets{other.remedy}).",
        )
    for count in _other_counts(targets, size):
        raise QuantStageError(
            "evaluate",
            f"quant_eval_data gave {size} inputs with {count} targets in one batch; expected one target "
            f"for each input.{_remedy(inputs, size, count)}",
        )


def is_empty(inputs: Any) -> bool:
    """Whether a batch is of the form that has samples, and has none."""
    return size_of(inputs) == 0 and any(each.ndim for each in arrays_in(inputs))


def _refuse_nested(inputs: Any) -> None:
    """Of nested tensors it is not known how long they are."""
    import torch

    if any(isinstance(each, torch.Tensor) and each.is_nested for each in arrays_in(inputs)):
        raise QuantStageError(
            "evaluate",
            "quant_eval_data gave nested tensors as inputs, of which no samples can be taken. Let "
            "quant_batch return (inputs.to_padded_tensor(0.0), targets), and say with quant_forward how "
            "the model takes them.",
        )


def _refuse_sparse(inputs: Any, size: int) -> None:
    """Of sparse tensors no single samples can be taken."""
    import torch

    for each in arrays_in(inputs):
        is_dense = not isinstance(each, torch.Tensor) or each.layout is torch.strided
        if not is_dense and each.ndim and each.shape[0] == size:
            raise QuantStageError(
                "evaluate",
                f"quant_eval_data gave sparse inputs ({str(each.layout).removeprefix('torch.')}), of "
                "which no samples can be taken. Let quant_batch return (inputs.to_dense(), targets), and "
                "say with quant_forward how the model takes them, as in lambda model, x: "
                "model(x.to_sparse()).",
            )


def _other_counts(targets: Any, size: int) -> Iterator[int]:
    """How many targets each part of them has, where these are not as many as samples."""
    if is_packed(targets):
        if (count := size_of(targets)) != size:
            yield count
    elif hasattr(targets, "ndim") and hasattr(targets, "shape"):
        if targets.ndim and targets.shape[0] != size:
            yield int(targets.shape[0])
    elif isinstance(targets, list | tuple):
        if is_by_sample(targets, size):
            return
        if next(arrays_in(targets), None) is None:
            if (count := size_of(targets)) != size:
                yield count
            return
        if all(isinstance(part, Mapping) for part in targets):
            yield len(targets)
            return
        for part in targets:
            yield from _other_counts(part, size)
    elif isinstance(targets, Mapping):
        for part in targets.values():
            if next(arrays_in(part), None) is not None:
                yield from _other_counts(part, size)
    elif hasattr(targets, "__dict__") and not isinstance(targets, type):
        for part in vars(targets).values():
            if next(arrays_in(part), None) is not None:
                yield from _other_counts(part, size)


def _remedy(inputs: Any, size: int, count: int) -> str:
    """What to write where inputs have as many samples as targets in another place."""
    lengths = [each.shape[0] if each.ndim else 0 for each in arrays_in(inputs)]
    if isinstance(inputs, list | tuple) and len(inputs) == len(lengths) == count:
        return (
            f" A list is taken for the model's arguments; for {count} samples of one shape let quant_batch "
            "return (torch.stack(inputs), targets), for samples of several shapes a batch of one, "
            "(inputs[0][None], targets), and say with quant_forward how the model takes them, as in "
            "lambda model, x: model(list(x))."
        )
    if count in lengths:
        return (
            " Samples are counted in the first tensor: put one with a row for each sample first, as in "
            "quant_batch returning ({'offsets': offsets, 'text': text}, targets) for an EmbeddingBag, "
            "whose forward takes these by name."
        )
    return " Where it yields single samples, wrap it in a DataLoader."


def _kind(item: Any) -> str:
    return "texts" if isinstance(item, str) else f"items of type {type(item).__name__}"
