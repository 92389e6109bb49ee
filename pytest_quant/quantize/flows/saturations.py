"""Saturations: no range is spent on values that the next operation makes alike, as ReLU6 those below 0."""

import math
from typing import Any

import torch
from torch import nn

from pytest_quant.quantize.flows.observed_graph import observer_at
from pytest_quant.quantize.span import EVERYTHING, Span, clamp_before, hull

F = nn.functional
# What gives no value outside the range of those that it takes.
INSIDE = (
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.Dropout,
    nn.Identity,
)
INSIDE_FUNCTIONS = (
    F.max_pool1d,
    F.max_pool2d,
    F.adaptive_avg_pool1d,
    F.adaptive_avg_pool2d,
    torch.flatten,
)
FIXED = {
    nn.ReLU: Span(0, math.inf),
    nn.ReLU6: Span(0, 6),
    nn.Hardswish: Span(-3, math.inf),
    nn.Hardsigmoid: Span(-3, 3),
}
FUNCTIONS = {
    F.relu: FIXED[nn.ReLU],
    torch.relu: FIXED[nn.ReLU],
    F.relu6: FIXED[nn.ReLU6],
    F.hardswish: FIXED[nn.Hardswish],
    F.hardsigmoid: FIXED[nn.Hardsigmoid],
}
CLAMPS = (F.hardtanh, torch.clamp)
CLIPS = (nn.ReLU, nn.ReLU6, nn.Hardtanh)  # which also give no other values than they tell apart
CLIP_FUNCTIONS = (F.relu, torch.relu, F.relu6, *CLAMPS)


def spare_ranges(prepared: Any) -> None:
    """Let each observer see only the values that make a difference.

    FX lets one observer watch what goes into a ReLU6 and what comes out, so that its scale covers all that
    is cut off: of a convolution's -8 to 8, 0 to 6. Int8 kernels saturate, so that nothing else changes.

    Args:
        prepared: a graph with observers, or fake-quantize modules, which get a hook.
    """
    calls: dict[int, list[Any]] = {}
    for node in prepared.graph.nodes:
        observer = observer_at(prepared, node)
        if observer is not None:
            calls.setdefault(id(observer), []).append(node)
    for nodes in calls.values():
        span = hull(_needed(prepared, node) for node in nodes)
        if span != EVERYTHING:
            clamp_before(observer_at(prepared, nodes[0]), span)


def _needed(prepared: Any, node: Any) -> Span:
    """Of the values that come to an observer: those that there are, or that its users tell apart."""
    given = _given(prepared, node.all_input_nodes[0])
    if given != EVERYTHING or not node.users:
        return given
    return hull(_told_apart(prepared, user) for user in node.users)


def _given(prepared: Any, node: Any) -> Span:
    """In which span all values lie that a node gives, as far as a clamp before it says."""
    if observer_at(prepared, node) is not None or _stays_inside(prepared, node):
        return _given(prepared, node.all_input_nodes[0])
    kind = type(prepared.get_submodule(node.target)) if node.op == "call_module" else node.target
    return _told_apart(prepared, node) if kind in (*CLIPS, *CLIP_FUNCTIONS) else EVERYTHING


def _stays_inside(prepared: Any, node: Any) -> bool:
    if node.op == "call_module":
        return type(prepared.get_submodule(node.target)) in INSIDE
    return node.op == "call_function" and node.target in INSIDE_FUNCTIONS


def _told_apart(prepared: Any, node: Any) -> Span:
    """Beyond which values an operation gives the same for all."""
    if node.op == "call_module":
        module = prepared.get_submodule(node.target)
        if type(module) is nn.Hardtanh:
            return Span(module.min_val, module.max_val)
        return FIXED.get(type(module), EVERYTHING)
    if node.op == "call_function" and node.target in CLAMPS:
        return _of_clamp(node)
    return FUNCTIONS.get(node.target, EVERYTHING) if node.op == "call_function" else EVERYTHING


def _of_clamp(node: Any) -> Span:
    """The limits of a call of clamp or hardtanh, where they are numbers."""
    usual = (None, None) if node.target is torch.clamp else (-1.0, 1.0)
    names = ("min", "max") if node.target is torch.clamp else ("min_val", "max_val")
    limits = [
        node.args[place] if len(node.args) > place else node.kwargs.get(name, default)
        for place, (name, default) in enumerate(zip(names, usual, strict=True), 1)
    ]
    if not all(limit is None or isinstance(limit, int | float) for limit in limits):
        return EVERYTHING
    low, high = limits
    return Span(-math.inf if low is None else low, math.inf if high is None else high)
