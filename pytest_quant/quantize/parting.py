"""Parting: at which operation two graphs of one model begin to differ."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from pytest_quant.machine import torch_api
from pytest_quant.quantize.span import EVERYTHING, Span, hull, span_before
from pytest_quant.variant.sqnr import sqnr

NEAR = 6.0  # dB: the first operation that is as far off as the outputs, but for this


@dataclass(frozen=True, slots=True)
class Place:
    """An operation of a model.

    Args:
        module: the user's name of the module that it is, or lies in; may be empty.
        operation: its type, or the function's name.
        is_module: whether it is the module itself.
    """

    module: str
    operation: str
    is_module: bool = True

    def __str__(self) -> str:
        if self.is_module:
            return f"{self.module} ({self.operation})"
        return f"{self.operation} in {self.module}" if self.module else self.operation


def where_they_part(
    rehearsed: Any, converted: Any, run: Callable[[Any], Any], distance: float
) -> "Place | None":
    """The first operation as far off as the outputs; None where it cannot be told.

    Args:
        rehearsed, converted: of which only traced graphs can be looked into.
        run: calls one of them.
        distance: of the outputs, in dB.
    """
    first, second = _graph(rehearsed), _graph(converted)
    if first is None or second is None:
        return None
    try:
        with torch.inference_mode(), _recorded(first) as expected, _recorded(second) as found:
            run(rehearsed)
            run(converted)
    except Exception:  # the name is a help, no verdict hangs on it
        return None
    spans = {node.name: _span_of(node, first) for node in first.graph.nodes}
    for node in second.graph.nodes:
        wanted, given = expected.get(node.name), found.get(node.name)
        if wanted is None or given is None or wanted.shape != given.shape:
            continue
        span = spans.get(node.name, EVERYTHING)
        if sqnr(wanted.clamp(*span), given.clamp(*span)) < distance + NEAR:
            return place_of(node, second)
    return None


def _span_of(node: Any, rehearsed: Any) -> Span:
    """The values of an operation that make a difference: int8 keeps no others."""
    users = [
        rehearsed.get_submodule(user.target) for user in node.users if user.op == "call_module"
    ]
    if not users or len(users) < len(node.users):
        return EVERYTHING
    return hull(map(span_before, users))


def _graph(model: Any) -> Any:
    return model if isinstance(model, torch.fx.GraphModule) else None


@contextmanager
def _recorded(graph: Any) -> Iterator[dict[str, Any]]:
    """What each node gives, as float, while the graph is called."""
    values: dict[str, Any] = {}

    class Recorder(torch.fx.Interpreter):
        def run_node(self, node: Any) -> Any:
            value = super().run_node(node)
            if isinstance(value, torch.Tensor):
                kept = value.dequantize() if value.is_quantized else value
                values[node.name] = kept.clone() if kept.is_floating_point() else None
            return value

    names = [node.target for node in graph.graph.find_nodes(op="placeholder")]

    def forward(*args: Any, **kwargs: Any) -> Any:
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        return Recorder(graph).run(*[given[name] for name in names if name in given])

    graph.forward = forward
    try:
        yield values
    finally:
        del graph.forward


def place_of(node: Any, graph: Any) -> Place:
    """Where a graph's operation stands in the user's model."""
    if node.op == "call_module":
        return Place(node.target, type(graph.get_submodule(node.target)).__name__)
    return Place(
        torch_api.owner_of(node), getattr(node.target, "__name__", str(node.target)), False
    )
