"""Named call: how a user's model is called, for a graph that takes its tensors by name."""

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pytest_quant.quantize.arguments import arguments_by_name
from pytest_quant.quantize.flows.example import Rebuild, holds_no_tensor


@dataclass(frozen=True, slots=True, eq=False)
class NamedCall:
    """How the user's model is called, and what it returns.

    Args:
        signature: of the user's forward, without self.
        names: of the arguments with tensors, in order.
        plain: the other arguments that are not None, which are constants in the graph.
        rebuild: makes the model's output object from a tuple of tensors.
        is_batched: whether every output has a row for each sample, which no other sample changes.
    """

    signature: inspect.Signature
    names: tuple[str, ...]
    plain: dict[str, Any]
    rebuild: Rebuild | None
    is_batched: bool

    def arguments(self, args: Any, kwargs: Any) -> dict[str, Any]:
        """The arguments with tensors, by forward's names.

        Raises:
            TypeError: when they are not those that the model was exported with.
        """
        bound = arguments_by_name(self.signature, args, kwargs)
        values = {name: value for name, value in bound.items() if not holds_no_tensor(value)}
        plain = {k: v for k, v in bound.items() if v is not None and k not in values}
        if tuple(values) != self.names or plain != self.plain:
            raise TypeError(
                f"a model of flow pt2e takes the arguments that it was exported with, "
                f"{_listed(self.names, self.plain)}; given {_listed(values, plain) or 'none'}"
            )
        return values


def _listed(names: Iterable[str], plain: dict[str, Any]) -> str:
    return ", ".join([*names, *(f"{name}={value!r}" for name, value in plain.items())])
