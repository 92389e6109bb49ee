"""Functional: Linear layers that are never called, since the model passes their weights to a function."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class FunctionalLinear(TorchFunctionMode):
    """While entered, counts the multiply-adds of `torch.nn.functional.linear` by whose weight it gets.

    Args:
        names: id of a weight -> name of its layer. Other weights are not counted.

    Attributes:
        counts: name of a layer -> multiply-adds, also of those that are called as modules.
    """

    def __init__(self, names: Mapping[int, str]) -> None:
        super().__init__()
        self.names = names
        self.counts: dict[str, int] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if func is torch.nn.functional.linear:
            weight = args[1] if len(args) > 1 else kwargs["weight"]
            if (name := self.names.get(id(weight))) is not None:
                macs = output.numel() * weight.shape[-1]
                self.counts[name] = self.counts.get(name, 0) + macs
        return output
