"""Shared: does a copy of the user's model compute with its own weights, or still with the original's?"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from pytest_quant.errors import QuantStageError
from pytest_quant.machine import torch_api


def unshared(original: Any, copied: Any, run: Callable[[], Any]) -> Any:
    """What our copy of a model gives, which must not run the original, or changes would have no effect.

    A copy does so whose forward was replaced on the object by a function that holds the original, and
    `quant_forward` where it calls another model than the one that it is given.

    Args:
        original: the user's model.
        copied: our copy.
        run: calls the copy once.

    Raises:
        QuantStageError: an operation takes a parameter of the original, or nothing of the copy is called
            and none of its parameters is taken.
    """
    names = {
        pointer: name
        for name, parameter in original.named_parameters()
        if (pointer := _pointer(parameter))
    }
    own = {pointer for parameter in copied.parameters() if (pointer := _pointer(parameter))}
    with _Takes(names, own) as takes:
        outputs = run()
    if takes.found is not None:
        raise QuantStageError(
            "fixture",
            f"a copy of quant_model computes with the original's {takes.found}: something in it, such as "
            "a forward that was replaced on the object, holds the original, so that whatever is "
            "quantized, the original would run. Define forward in the class, or wrap the module in "
            "another one.",
        )
    if own and not takes.is_own and not _is_called(copied, run):
        raise QuantStageError(
            "fixture",
            "quant_forward does not run the model that it is given: none of its layers was called and none "
            "of its weights was read, so that every variant would give what FP32 gives. Let it call its "
            "first argument, as in lambda model, inputs: model(inputs), and no model of its own.",
        )
    return outputs


def _is_called(module: Any, run: Callable[[], Any]) -> bool:
    """Whether the module or anything in it is called, also where code in C++ takes its weights."""
    called, hooks = list[bool](), list[Any]()
    for each in module.modules():
        if torch_api.takes_hooks(each):  # others have no weights here
            hooks.append(each.register_forward_pre_hook(lambda *_: called.append(True)))
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return bool(called)


class _Takes(TorchFunctionMode):
    """While entered, looks for certain tensors among the arguments of PyTorch's functions.

    Args:
        names: of the tensors, by where their values are.
        own: where the values of others are.

    Attributes:
        found: the name of the first one.
        is_own: whether any of the others was taken.
    """

    def __init__(self, names: dict[int, str], own: set[int]) -> None:
        super().__init__()
        self.names = names
        self.own = own
        self.found: str | None = None
        self.is_own = False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if self.found is None and self.names:
            pointers = [_pointer(tensor) for tensor in _tensors((args, kwargs))]
            self.found = next((self.names[each] for each in pointers if each in self.names), None)
            self.is_own = self.is_own or not self.own.isdisjoint(pointers)
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
