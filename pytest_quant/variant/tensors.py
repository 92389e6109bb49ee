"""Tensors: all that a model holds, each once, and the bytes that they need."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pytest_quant.machine import torch_api


def state_of(model: Any) -> dict[str, Any]:
    """A module's state dict, with what belongs to a shared submodule under its first name alone.

    Packed weights are unpacked anew under each name, so that their tensors do not tell.
    """
    seen, again = set[int](), list[str]()
    for name, module in model.named_modules(remove_duplicate=False):
        if id(module) in seen:
            again.append(f"{name}.")
        seen.add(id(module))
    state = model.state_dict()
    return {key: value for key, value in state.items() if not key.startswith(tuple(again))}


def tensors_of(value: Any) -> Iterator[Any]:
    """Each tensor in a state dict, those inside PyTorch's packed weights included."""
    import torch

    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_of(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_of(item)
    else:
        yield from packed_in(value)


def packed_in(value: Any) -> Iterator[Any]:
    """The tensors of packed weights; nothing of another value."""
    if isinstance(value, tuple(torch_api.packed_classes())):
        yield from tensors_of(value.__getstate__())


def plain_tensors(model: Any) -> Iterator[tuple[str, Any]]:
    """Tensors that a module keeps as plain attributes or unsaved buffers, absent from its state dict."""
    import torch

    for name, module in model.named_modules():
        for attribute, value in vars(module).items():
            if isinstance(value, torch.Tensor):
                yield f"{name}.{attribute}", value
    yield from unsaved_in(model)


def unsaved_in(model: Any) -> Iterator[tuple[str, Any]]:
    """The buffers of a module and of those in it that are not saved."""
    for name, module in model.named_modules():
        for attribute, value in torch_api.unsaved_buffers(module):
            yield f"{name}.{attribute}", value


def parts_of(tensor: Any) -> Iterator[Any]:
    """The tensors that a wrapper such as torchao's keeps; of any other tensor, itself.

    A wrapper calls itself float32 in its full shape and has no storage.
    """
    inner = torch_api.wrapped(tensor)
    if inner is None:
        yield tensor
        return
    for part in inner:
        yield from parts_of(part)


def bytes_of(tensors: Iterable[Any]) -> int:
    """Bytes of all tensors; those that share a storage need no more than that storage."""
    return sum(needed for _, needed in bytes_each(tensors))


def bytes_each(tensors: Iterable[Any]) -> Iterator[tuple[Any, int]]:
    """Each tensor, or part of a wrapper, once, with the bytes that it adds to those before it."""
    room: dict[int, float] = {}
    for tensor in unique(part for whole in tensors for part in parts_of(whole)):
        key, most = id(tensor), math.inf
        if not tensor.is_quantized and tensor.layout is _strided():
            storage = tensor.untyped_storage()
            key, most = storage.data_ptr() or key, storage.nbytes()
        left = room.get(key, most)
        needed = min(stored_bytes(tensor), left)
        room[key] = left - needed
        yield tensor, int(needed)


def unique(tensors: Any) -> list[Any]:
    """Each tensor once, as shared weights are stored once."""
    found: dict[Any, Any] = {}
    for tensor in tensors:
        found.setdefault(tuple(_place(part) for part in parts_of(tensor)), tensor)
    return list(found.values())


def _place(tensor: Any) -> Any:
    """Where a tensor's values are; the same for views of the same part of one storage."""
    if tensor.is_quantized or tensor.layout is not _strided():
        return id(tensor)
    pointer = tensor.untyped_storage().data_ptr() or id(tensor)
    return pointer, tensor.storage_offset(), tensor.shape


def stored_bytes(tensor: Any) -> int:
    """Bytes of a tensor's elements and, of a quantized one, of its scales and zero points."""
    import torch

    total = int(tensor.numel() * tensor.element_size())
    if tensor.is_quantized and tensor.qscheme() not in (
        torch.per_tensor_affine,
        torch.per_tensor_symmetric,
    ):
        for part in (tensor.q_per_channel_scales(), tensor.q_per_channel_zero_points()):
            total += int(part.numel() * part.element_size())
    return total


def _strided() -> Any:
    import torch

    return torch.strided
