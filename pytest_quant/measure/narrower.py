"""Narrower: which of a variant's tensors are stored in fewer bits than FP32's, as far as can be known."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from pytest_quant.variant.tensors import parts_of, plain_tensors, state_of, tensors_of, unique

PACKING = 0.01  # of FP32's parameters: so many new integers may be packed weights (2 bits: 6 %)
BACKED = (
    2  # narrow elements for each parameter that is not float any more; scales and zero points count
)


def is_narrow(tensor: Any) -> bool:
    """Whether a tensor holds values in fewer bits than float32: quantized, of 16 or of 8 bits."""
    import torch

    return any(
        part.numel() > 1
        and (part.is_quantized or (part.element_size() < 4 and part.dtype != torch.bool))
        for part in parts_of(tensor)
    )


def narrower(tensors: Iterable[Any], fp32: Any) -> list[Any]:
    """Those in fewer bits that FP32 has not as they are, as it has a mask of uint8 or a table of float16.

    Args:
        tensors: of a variant, or of a part of it.
        fp32: FP32's module, or the same part of it; None for a part that it has not.
    """
    kept = [] if fp32 is None else [tensor for tensor in tensors_held(fp32) if is_narrow(tensor)]
    return _beyond([tensor for tensor in tensors if is_narrow(tensor)], kept)


def is_share_known(
    model: Any, fp32: Any, narrow: int, held: Iterable[Any] = (), given: Iterable[Any] = ()
) -> bool:
    """Whether a module of somebody else's making shows by its tensors how much of it is int8.

    It does not where it holds none, as one round another runtime's session; where weights may be packed
    into integers of 32 bits; and where tensors in fewer bits stand beside FP32's own parameters,
    which may be masks or tables.

    Args:
        model: the variant's module.
        fp32: FP32's.
        narrow: elements that the model holds in fewer bits than FP32.
        held: tensors that the model reads beside parameters and buffers.
        given: parameters that FP32 reads and has not registered.
    """
    if any(hasattr(child, "packed_parameters") for child in model.modules()):
        return True  # it says so itself
    tensors = unique([*tensors_held(model), *held])
    parameters = [*fp32.parameters(), *given]
    total = sum(parameter.numel() for parameter in parameters)
    if not tensors:
        return not total
    parts = [part for tensor in tensors for part in parts_of(tensor)]
    stayed = alike([part for part in parts if is_wide_float(part)], parameters)
    gone = total - sum(int(tensor.numel()) for tensor in stayed)
    if narrow:
        return bool(narrow <= BACKED * gone)
    integers = _beyond([t for t in tensors if _is_integer(t)], tensors_held(fp32))
    return not gone or sum(int(tensor.numel()) for tensor in integers) < PACKING * total


def tensors_held(module: Any) -> list[Any]:
    """All tensors of a module, each once: parameters, buffers, packed weights, plain attributes."""
    unregistered = (tensor for _, tensor in plain_tensors(module))
    return unique([*tensors_of(state_of(module)), *unregistered])


def alike(tensors: list[Any], known: list[Any]) -> list[Any]:
    """The tensors that are as known ones by type and shape, one for each."""
    return _split(tensors, known)[0]


def _beyond(tensors: list[Any], known: list[Any]) -> list[Any]:
    """The tensors but for one of its type and shape for each known one."""
    return _split(tensors, known)[1]


def _split(tensors: list[Any], known: list[Any]) -> tuple[list[Any], list[Any]]:
    left = Counter((tensor.dtype, tensor.shape) for tensor in known)
    same, other = list[Any](), list[Any]()
    for tensor in tensors:
        form = tensor.dtype, tensor.shape
        (same if left[form] > 0 else other).append(tensor)
        left[form] -= 1
    return same, other


def is_wide_float(tensor: Any) -> bool:
    """Whether it holds floats in 32 bits or more."""
    return bool(tensor.is_floating_point() and tensor.element_size() >= 4)


def _is_integer(tensor: Any) -> bool:
    import torch

    return tensor.dtype in (torch.int32, torch.int64, torch.uint32, torch.uint64)
