"""Call: a model's call as plain JSON, without its values, and a call like it made again."""

import math
from typing import Any

import torch

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.quantize.flows.example import Example

MOST_BYTES = 10**9  # of a recorded call; one batch has less
PLAIN = (bool, int, float, str, type(None))


def call_as_json(example: Example) -> dict[str, Any]:
    """A call's arguments, with each tensor's shape and type, and those of its parts.

    Raises:
        QuantStageError: for an argument that is neither tensor, nest nor plain value.
    """
    return {
        "args": [_described(value) for value in example.args],
        "kwargs": {name: _described(value) for name, value in example.kwargs.items()},
        "parts": {name: call_as_json(part) for name, part in example.parts.items()},
    }


def call_like(call: dict[str, Any], module: Any) -> Example:
    """A call of a module as it was described, of the module's parts too, with ones for values.

    Ones do where zeros do not: as lengths of sequences, as masks of what is to be seen.

    Raises:
        QuantStageError: when the module cannot be called so.
    """
    args = tuple(made(value) for value in call["args"])
    kwargs = {name: made(value) for name, value in call["kwargs"].items()}
    parts = {
        name: call_like(part, module.get_submodule(name)) for name, part in call["parts"].items()
    }
    try:
        with torch.no_grad():
            outputs = module(*args, **kwargs)
    except Exception as error:
        raise QuantStageError(
            "load",
            f"{type(module).__name__} cannot be called as when it was saved, with ones for values: "
            f"{in_brief(error)}",
        ) from error
    return Example(args, kwargs, outputs, parts)


def _described(value: Any) -> Any:
    """A nest as JSON: a tensor is its type's name and shape, a list or dict one of one more level."""
    if isinstance(value, torch.Tensor):
        return {"tensor": str(value.dtype).removeprefix("torch."), "shape": list(value.shape)}
    if isinstance(value, tuple):
        return {"tuple": [_described(item) for item in value]}
    if isinstance(value, list):
        return {"list": [_described(item) for item in value]}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _described(item) for key, item in value.items()}}
    if isinstance(value, PLAIN):
        return value
    raise QuantStageError(
        "save",
        f"the model is called with a {type(value).__name__}, which a file cannot describe; call it "
        "with tensors, lists, tuples, dicts and plain values.",
    )


def refuse_large(call: dict[str, Any]) -> None:
    """A file says how large a call it asks for, and it may not ask for any.

    Raises:
        QuantStageError: its tensors would take more than `MOST_BYTES`.
    """
    needed = _bytes(call)
    if needed > MOST_BYTES:
        raise QuantStageError(
            "load",
            f"it asks for a call with {needed / 10**9:.1f} GB of inputs; {MOST_BYTES / 10**9:.0f} GB are "
            "the most",
        )


def _bytes(call: dict[str, Any]) -> int:
    whole = sum(map(_bytes_of, [*call["args"], *call["kwargs"].values()]))
    return whole + sum(map(_bytes, call["parts"].values()))


def _bytes_of(value: Any) -> int:
    if not isinstance(value, dict):
        return 0
    kind, content = next(iter(value.items()))
    if kind == "tensor":
        return math.prod(map(int, value["shape"])) * _dtype(content).itemsize
    return sum(map(_bytes_of, content.values() if kind == "dict" else content))


def _dtype(name: str) -> torch.dtype:
    found = getattr(torch, name)
    if not isinstance(found, torch.dtype):
        raise TypeError(f"{name} is no type of a tensor")
    return found


def made(value: Any) -> Any:
    """A value of a call with ones in its tensors."""
    if not isinstance(value, dict):
        return value
    kind, content = next(iter(value.items()))
    if kind == "tensor":
        return torch.ones(value["shape"], dtype=_dtype(content))
    if kind == "dict":
        return {key: made(item) for key, item in content.items()}
    items = [made(item) for item in content]
    return tuple(items) if kind == "tuple" else items
