"""Shared: does a copy of the user's model still compute with the weights of the original?"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from pytest_quant.errors import QuantStageError


def unshared(original: Any, run: Callable[[], Any]) -> Any:
    """What our copy of a model gives, which must not run the original, or changes would have no effect.

    A copy does so whose forward was replaced on the object by a function that holds the original.

    Args:
        original: the user's model.
        run: calls the copy once.

    Raises:
        QuantStageError: an operation takes a parameter of the original.
    """
    names = {
        pointer: name
        for name, parameter in original.named_parameters()
        if (pointer := _pointer(parameter))
    }
    with _Takes(names) as takes:
        outputs = run()
    if takes.found is not None:
        raise QuantStageError(
            "fixture",
            f"a copy of quant_model computes with the original's {takes.found}: something in it, such as "
            "a forward that was replaced on the object, holds the original, so that whatever is "
            "quantized, the original would run. Define forward in the class, or wrap the module in "
            "another one.",
        )
    return outputs


class _Takes(TorchFunctionMode):
    """While entered, looks for certain tensors among the arguments of PyTorch's functions.

    Args:
        names: of the tensors, by where their values are.

    Attributes:
        found: the name of the first one.
    """

    def __init__(self, names: dict[int, str]) -> None:
        super().__init__()
        self.names = names
        self.found: str | None = None

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if self.found is None and self.names:
            pointers = (_pointer(tensor) for tensor in _tensors((args, kwargs)))
            self.found = next((self.names[each] for each in pointers if each in self.names), None)
        return func(*args, **kwargs)


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(tuple(value.values()))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)


def _pointer(tensor: torch.Tensor) -> int:
    """Where a tensor's values are; 0 where it has none of its own, as a wrapper."""
    try:
        return int(tensor.data_ptr())
    except Exception:
        return 0
