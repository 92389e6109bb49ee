"""Saturations: no range is spent on values that the next operation makes alike, as ReLU6 those below 0."""

from typing import Any

import torch
from torch import nn

from pytest_quant.quantize.flows.observed_graph import observer_at
from pytest_quant.quantize.span import EVERYTHING, Span, clamp_before, given_span, hull

F = nn.functional
# What gives no value outside the range of those that it takes.
INSIDE = (
    *(
        nn.MaxPool1d,
        nn.MaxPool2d,
        nn.AdaptiveAvgPool1d,
        nn.AdaptiveAvgPool2d,
        nn.Dropout,
        nn.Identity,
    ),
    *(F.max_pool1d, F.max_pool2d, F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, torch.flatten),
)
RELU, RELU6 = Span(low=0), Span(0, 6)
# By module or function, beyond which values it gives the same for all.
FIXED = {
    **dict.fromkeys((nn.ReLU, F.relu, torch.relu, "relu"), RELU),
    **dict.fromkeys((nn.ReLU6, F.relu6), RELU6),
    **dict.fromkeys((nn.Hardswish, F.hardswish), Span(low=-3)),
    **dict.fromkeys((nn.Hardsigmoid, F.hardsigmoid), Span(-3, 3)),
}
# Whose limits are arguments: their names, and what they are where they are not given.
CLAMPS: dict[Any, tuple[tuple[str, str], Any]] = {
    F.hardtanh: (("min_val", "max_val"), (-1.0, 1.0)),
    **dict.fromkeys((torch.clamp, "clamp"), (("min", "max"), (None, None))),
}
# Which also give no other values than they tell apart.
CLIPS = (nn.ReLU, nn.ReLU6, nn.Hardtanh, F.relu, torch.relu, "relu", F.relu6, *CLAMPS)


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
    kind = _kind(prepared, node)
    if observer_at(prepared, node) is not None or kind in INSIDE:
        return _given(prepared, node.all_input_nodes[0])
    return _told_apart(prepared, node) if kind in CLIPS else EVERYTHING


def _told_apart(prepared: Any, node: Any) -> Span:
    """Beyond which values an operation gives the same for all."""
    kind = _kind(prepared, node)
    if kind is nn.Hardtanh:
        module = prepared.get_submodule(node.target)
        return Span(module.min_val, module.max_val)
    return _of_clamp(node) if kind in CLAMPS else FIXED.get(kind, EVERYTHING)


def _kind(prepared: Any, node: Any) -> Any:
    """The type of the module, or the function, that a node calls; else a name."""
    return type(prepared.get_submodule(node.target)) if node.op == "call_module" else node.target


def _of_clamp(node: Any) -> Span:
    """The limits of a call of clamp or hardtanh, where they are numbers."""
    return given_span(node.args, node.kwargs, *CLAMPS[node.target])
