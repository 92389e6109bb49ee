"""Scalars: what a number is multiplied with or added to keeps a range of its own in a traced graph."""

import operator
from collections.abc import Callable
from typing import Any

import torch

from pytest_quant.quantize.flows.observed_graph import observer_at, own_observer

FUNCTIONS = (operator.add, operator.mul, operator.iadd, operator.imul, torch.add, torch.mul)
METHODS = ("add", "mul", "add_", "mul_")


def part_ranges(prepared: Any, usual: Callable[[], Any]) -> None:
    """Give ``x`` and ``x * 22.6`` an observer each, where FX lets them share one.

    PyTorch's kernels find the scale of ``x * 22.6`` from that of ``x``. But FX observes both with one
    observer, whose range is that of the larger: ``x`` would have 22.6 times too coarse a scale, and a
    mask of 0 and 1 that is multiplied with -10,000 would vanish.

    Args:
        usual: makes an activation's observer, or fake-quantize module.
    """
    for node in prepared.graph.nodes:
        if not _is_with_a_number(node):
            continue
        shared = observer_at(prepared, node.all_input_nodes[0])
        if shared is not None:
            own = own_observer(shared, usual)
            for name in _after(prepared, node, shared):
                setattr(prepared, name, own)


def _is_with_a_number(node: Any) -> bool:
    known = node.target in (FUNCTIONS if node.op == "call_function" else METHODS)
    return known and node.op != "call_module" and len(node.all_input_nodes) == 1


def _after(prepared: Any, node: Any, shared: Any) -> list[str]:
    """Names under which a shared observer is called behind a node; none where an operation such as
    concatenation needs that all that it takes has one range."""
    names, left = list[str](), [node]
    if all(observer_at(prepared, user) is None for user in node.users):
        left = list(node.users)  # a ReLU that is fused with it
    while left:
        operation = left.pop()
        calls = [user for user in operation.users if observer_at(prepared, user) is shared]
        if calls and len(operation.all_input_nodes) > 1:
            return []
        for call in calls:
            names.append(call.target)
            left.extend(call.users)
    return names
