"""Batches: what a loader yields, taken apart into inputs and targets, samples and their digests."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import chain
from typing import Any

import numpy as np

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.machine.opened import unnoticed
from pytest_quant.subject.samples import is_packed, with_entries, with_parts
from pytest_quant.subject.samples import size_of as size_of
from pytest_quant.subject.samples import taken as taken
from pytest_quant.subject.samples import tensors_in as tensors_in
from pytest_quant.subject.singles import TOGETHER, is_single, together

DATASET_BATCH = 32  # batch size for a map-style Dataset, which brings none of its own
OTHER_FLOATS = ("float64", "float16", "bfloat16")  # of inputs, which an FP32 model takes as float32

Unpack = Callable[[Any], tuple[Any, Any]]
Forward = Callable[[Any, Any], Any]


def batches_of(data: Any, fixture: str) -> Any:
    """What can be iterated again and again: the data itself, or a loader over a Dataset.

    Raises:
        QuantStageError: for None, a one-shot iterator or something that cannot be iterated; names
            the fixture.
    """
    import torch
    from torch.utils.data import DataLoader, Dataset, IterableDataset

    if data is None:
        raise QuantStageError(
            "fixture",
            f"{fixture} gave None; expected a DataLoader, a list of batches or a "
            f"map-style Dataset. Override the fixture {fixture}.",
        )
    if isinstance(data, Iterator):
        raise QuantStageError(
            "fixture",
            f"{fixture} gave a {type(data).__name__}, which can be read only once; FP32 and each "
            "variant need a pass of their own. Return a DataLoader, a list or a Dataset.",
        )
    if isinstance(data, DataLoader | IterableDataset):
        return data
    if isinstance(data, torch.Tensor | str | bytes | Mapping):
        raise QuantStageError(
            "fixture",
            f"{fixture} gave a {type(data).__name__}; expected something that yields "
            "batches: a DataLoader, a list of (inputs, targets), or a map-style Dataset.",
        )
    if isinstance(data, Dataset) or (
        hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, Sequence)
    ):
        return DataLoader(data, batch_size=DATASET_BATCH)
    if _is_columns(data):
        first, second = (described(column) for column in data)
        raise QuantStageError(
            "fixture",
            f"{fixture} gave a {type(data).__name__} of {first} and {second}, which are columns; expected "
            "batches. Return TensorDataset(*columns), or a list of one batch: [(inputs, targets)].",
        )
    if not hasattr(data, "__iter__"):
        raise QuantStageError(
            "fixture",
            f"{fixture} gave a {type(data).__name__}, which cannot be iterated; expected "
            "a DataLoader, a list of batches or a map-style Dataset.",
        )
    return data


def _is_columns(data: Any) -> bool:
    """Whether a pair is inputs and targets of all samples; two batches would be of one kind."""
    import torch

    if not isinstance(data, list | tuple) or len(data) != 2:
        return False
    one, other = data[0], data[1]  # a pass over the data would count as one
    if not all(isinstance(each, torch.Tensor | np.ndarray) and each.ndim for each in (one, other)):
        return False
    return len(one) == len(other) and (one.ndim != other.ndim or one.dtype != other.dtype)


def each_batch(
    data: Any, fixture: str, own: Unpack | None = None, *, like: Any = None
) -> Iterator[Any]:
    """The batches, with an error of the loader turned into one that names the fixture.

    Data that clearly yields single samples (`is_single`) is put together to batches.

    Args:
        own: the user's `quant_batch`, which then gets what the data yields, as it is.
        like: inputs of a batch, where it is known what one looks like.
    """
    items = _each_item(data, fixture)
    first = next(items, items)
    if first is items:
        return
    whole = chain([first], items)
    yield from together(whole, fixture) if own is None and is_single(first, like) else whole


def yields_singles(data: Any, fixture: str, own: Unpack | None = None) -> bool:
    """Whether `each_batch` puts single samples together; reads the first one of what says nothing of
    batches itself."""
    if own is not None or getattr(data, "batch_size", None):
        return False
    if isinstance(data, list | tuple):
        return bool(data) and is_single(data[0])
    return is_single(next(_each_item(data, fixture), None))


def count_of(data: Any, fixture: str, own: Unpack | None = None) -> int | None:
    """How many batches `each_batch` makes of data; None where it does not tell."""
    try:
        count = len(batches_of(data, fixture))
    except TypeError:
        return None
    if isinstance(data, list | tuple) and yields_singles(data, fixture, own):
        return -(-count // TOGETHER)
    return count


def _each_item(data: Any, fixture: str) -> Iterator[Any]:
    iterator = None
    while True:
        try:
            # Of eval data each sample counts; what tunes may read more of a file than a first pass shows.
            with unnoticed() if fixture == "quant_eval_data" else nullcontext():
                iterator = iter(batches_of(data, fixture)) if iterator is None else iterator
                batch = next(iterator)
        except StopIteration:
            return
        except QuantStageError:
            raise
        except Exception as error:
            raise QuantStageError(
                "fixture", f"{fixture} raised while it was read: {in_brief(error)}"
            ) from error
        yield batch


def unpack(batch: Any, fixture: str, own: Unpack | None = None) -> tuple[Any, Any]:
    """A batch as (inputs, targets).

    Args:
        batch: a pair, or a dict with ``labels`` whose other entries are keyword inputs.
        fixture: where it came from, for the error.
        own: the user's `quant_batch`, which replaces these rules.

    Raises:
        QuantStageError: for any other shape; says what came.
    """
    if own is not None:
        try:
            inputs, targets = own(batch)
        except Exception as error:
            raise QuantStageError(
                "fixture",
                f"quant_batch could not take a batch of {fixture} apart into (inputs, "
                f"targets): {in_brief(error)}",
            ) from error
        return inputs, targets
    if isinstance(batch, Mapping) and "labels" in batch:
        return _without_labels(batch), batch["labels"]
    if isinstance(batch, list | tuple) and len(batch) == 2:
        return batch[0], batch[1]
    raise QuantStageError(
        "fixture",
        f"{fixture} yielded {described(batch)}; expected (inputs, targets) or a dict with "
        "'labels'. Override the fixture quant_batch to split such a batch into (inputs, targets).",
    )


def inputs_only(batch: Any, fixture: str, own: Unpack | None = None) -> Any:
    """The inputs of a calibration batch, which may come with targets or without."""
    import torch

    if own is not None or (isinstance(batch, list | tuple) and len(batch) == 2):
        return unpack(batch, fixture, own)[0]
    if isinstance(batch, Mapping):
        return _without_labels(batch)
    if isinstance(batch, list | tuple) and len(batch) == 1:
        return batch[0]
    if isinstance(batch, torch.Tensor):
        return batch
    raise QuantStageError(
        "fixture",
        f"{fixture} yielded {described(batch)}; expected inputs or (inputs, targets). "
        "Override the fixture quant_batch to split such a batch into (inputs, targets).",
    )


def _without_labels(batch: Mapping[Any, Any]) -> Any:
    return with_entries(batch, {key: value for key, value in batch.items() if key != "labels"})


def call(model: Any, inputs: Any, own: Forward | None = None) -> Any:
    """The model's outputs: a tensor goes in as one argument, a list or tuple by position, a dict by name, a
    PackedSequence as one argument.

    It is given a copy of the inputs, since a model may write into them, and others are to see them too.
    """
    return run(model, copied(inputs), own)


def run(model: Any, inputs: Any, own: Forward | None = None) -> Any:
    """As `call`, on the inputs themselves."""
    if own is not None:
        return own(model, inputs)
    if isinstance(inputs, Mapping):
        return model(**inputs)
    if isinstance(inputs, list | tuple) and not is_packed(inputs):
        return model(*inputs)
    return model(inputs)


def mapped(value: Any, change: Callable[[Any], Any], *, objects: bool = False) -> Any:
    """The same nest with each tensor changed.

    Args:
        change: of one tensor.
        objects: whether objects that hold tensors, such as a dataclass of images and masks, are copied
            with theirs changed; else they stay as they are.
    """
    import torch

    def again(item: Any) -> Any:
        return mapped(item, change, objects=objects)

    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return with_entries(value, {key: again(item) for key, item in value.items()})
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(again, value))
    if isinstance(value, list | tuple):
        return type(value)(map(again, value))
    if objects and next(tensors_in(value), None) is not None:
        return with_parts(value, again)
    return value


def copied(value: Any) -> Any:
    """The same nest with a copy of each tensor."""
    return mapped(value, lambda tensor: tensor.clone(), objects=True)


def on_cpu(value: Any) -> Any:
    """The same nest on the CPU, floating point as float32, as the FP32 model takes it."""
    import torch

    def move(tensor: Any) -> Any:
        return tensor.detach().to("cpu", torch.float32 if other_float(tensor) else None)

    return mapped(value, move, objects=True)


def other_float(tensor: Any) -> str | None:
    """The name of a tensor's floating point type where that is not float32, as a model may have too."""
    name = str(tensor.dtype).removeprefix("torch.")
    return name if name in OTHER_FLOATS else None


def described(batch: Any) -> str:
    """What a batch is, for an error: its type and, of a sequence or dict, its parts."""
    shape = getattr(batch, "shape", None)
    if shape is not None:
        return f"a {type(batch).__name__} of shape {list(shape)}"
    if isinstance(batch, Mapping):
        return f"a dict with {sorted(map(str, batch))}"
    if isinstance(batch, list | tuple):
        return f"a {type(batch).__name__} of {len(batch)}"
    return f"a {type(batch).__name__}"
