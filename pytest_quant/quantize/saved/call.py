"""Call: a model's call as plain JSON, without its values, and a call like it made again."""

from typing import Any

import torch

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.quantize.flows.example import Example

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
    args = tuple(_made(value) for value in call["args"])
    kwargs = {name: _made(value) for name, value in call["kwargs"].items()}
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


def _made(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    kind, content = next(iter(value.items()))
    if kind == "tensor":
        return torch.ones(value["shape"], dtype=getattr(torch, content))
    if kind == "dict":
        return {key: _made(item) for key, item in content.items()}
    items = [_made(item) for item in content]
    return tuple(items) if kind == "tuple" else items
