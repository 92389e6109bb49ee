"""Quantized already: a model that is no FP32 model any more, or is prepared to become int8."""

import re
from collections.abc import Iterator
from typing import Any

from pytest_quant.errors import QuantStageError
from pytest_quant.machine import torch_api

# What integers are called that are weights; others are tables, masks, places and counters.
WEIGHT = re.compile(r"(^|_)q?weight(_packed|_quantized|_int8|_int|_q)?$")


def refuse_quantized(model: Any) -> None:
    """Refuse a model of which a part is quantized or prepared: it would be taken for FP32, and variants be
    compared with what has lost already what they are to lose.

    Raises:
        QuantStageError: names the first such part and its class.
    """
    quantized, prepared = next(_quantized(model), None), next(_prepared(model), None)
    if quantized is not None:
        raise QuantStageError(
            "fixture",
            f"quant_model is quantized already, wholly or in part: {quantized}. Give the FP32 model, with "
            "which every variant is compared; what you quantized yourself is a variant, "
            "Recipe('custom', build=...).",
        )
    if prepared is not None:
        raise QuantStageError(
            "fixture",
            f"quant_model is prepared for quantization already: {prepared}. Give the FP32 model as it was "
            "before; observers and fake-quantize modules are put into copies of it.",
        )


def _quantized(model: Any) -> Iterator[str]:
    """The parts that compute in int8, or whose weights are quantized."""
    for name, child in model.named_modules():
        kind = type(child)
        if torch_api.is_quantized_layer(child):
            package = kind.__module__.partition(".modules")[0]
            yield f"{_module(name)} ({kind.__name__} of {package})"
        for attribute, value in _values(child):
            if (what := _as_quantized(attribute, value)) is not None:
                yield f"{attribute} ({what}) of {_module(name)} ({kind.__name__})"


def _prepared(model: Any) -> Iterator[str]:
    """The observers and fake-quantize modules."""
    for name, child in model.named_modules():
        if torch_api.is_observing(child):
            yield f"{_module(name)} ({type(child).__name__})"


def _module(name: str) -> str:
    return f"module {name}" if name else "the whole"


def _values(child: Any) -> Iterator[tuple[str, Any]]:
    """A module's own parameters, buffers and plain attributes, by name."""
    yield from child.named_parameters(recurse=False)
    yield from child.named_buffers(recurse=False)
    yield from vars(child).items()


def _as_quantized(attribute: str, tensor: Any) -> str | None:
    """What a value is that holds quantized weights; None of another one."""
    import torch

    if torch_api.is_packed_weight(tensor):
        return "packed weights"
    if not isinstance(tensor, torch.Tensor) or torch.nn.parameter.is_lazy(tensor):
        return None
    name = str(tensor.dtype).removeprefix("torch.")
    if tensor.is_quantized or _is_float_of_8_bits(tensor):
        return name
    parts = torch_api.wrapped(tensor)
    if parts is not None and not tensor.is_nested:
        is_torchao = type(tensor).__module__.startswith("torchao.")
        if is_torchao or any(_is_byte(part) or _is_float_of_8_bits(part) for part in parts):
            return f"{type(tensor).__name__} of {type(tensor).__module__.partition('.')[0]}"
    if tensor.ndim > 1 and not (tensor.is_floating_point() or tensor.is_complex()):
        is_weight = WEIGHT.search(attribute) and tensor.dtype not in (torch.int64, torch.bool)
        if is_weight:
            return name
    return None


def _is_byte(tensor: Any) -> bool:
    import torch

    return tensor.dtype in (torch.int8, torch.uint8)


def _is_float_of_8_bits(tensor: Any) -> bool:
    return bool(tensor.is_floating_point() and tensor.element_size() == 1)
