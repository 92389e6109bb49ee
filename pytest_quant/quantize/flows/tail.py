"""Tail: what follows the last layers with weights stays float in a traced graph."""

from collections.abc import Callable
from typing import Any

import torch

from pytest_quant.quantize.flows.observed_graph import observer_at, own_observer, take_off

# What has int8 kernels that are worth int8 inputs: all multiply and add.
F = torch.nn.functional
FUNCTIONS = (
    *(F.linear, F.conv1d, F.conv2d, F.conv3d),
    *(F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d),
    *(torch.matmul, torch.bmm),
)


def free_tail(prepared: Any, usual: Callable[[], Any]) -> None:
    """Take the observers off what no layer with weights follows, the last layers' own excepted.

    It costs next to nothing in float, and a lot in int8: boxes of 0 to 640 that are concatenated with
    scores of 0 to 1 share one range, in which every score is 0.

    Args:
        usual: makes an activation's observer, or fake-quantize module.
    """
    ahead = _feeding_weights(prepared)
    weighted = [node for node in prepared.graph.nodes if _has_weights(prepared, node)]
    if not weighted:
        return
    loose = []
    for node in prepared.graph.nodes:
        observer = observer_at(prepared, node)
        if observer is None or node in ahead:
            continue
        if node.args[0] in weighted:  # its int8 kernel gives int8, in a range that only it fills
            setattr(prepared, node.target, own_observer(observer, usual))
        else:
            loose.append(node)
    take_off(prepared, loose)


def _feeding_weights(prepared: Any) -> set[Any]:
    """The nodes whose values come to a layer with weights sooner or later."""
    feeding = set[Any]()
    for node in reversed(prepared.graph.nodes):
        if any(user in feeding or _has_weights(prepared, user) for user in node.users):
            feeding.add(node)
    return feeding


def _has_weights(prepared: Any, node: Any) -> bool:
    if node.op == "call_function":
        return node.target in FUNCTIONS
    if node.op != "call_module" or observer_at(prepared, node) is not None:
        return node.op == "call_method" and node.target in ("matmul", "bmm")
    return any(
        isinstance(child, torch.nn.Linear | torch.nn.RNNBase | torch.nn.RNNCellBase)
        or "Conv" in type(child).__name__
        or "Linear" in type(child).__name__
        for child in prepared.get_submodule(node.target).modules()
    )
