"""Tail: what no int8 layer follows stays float in a traced graph, also before layers kept FP32."""

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
    """Take the observers off what goes into no int8 layer, the outputs of such layers excepted.

    It costs next to nothing in float, and a lot in int8: boxes of 0 to 640 that are concatenated with
    scores of 0 to 1 share one range, in which every score is 0. Between two layers that are kept FP32,
    a pooling in int8 would lose what they are kept for.

    Args:
        usual: makes an activation's observer, or fake-quantize module.
    """
    if not any(_has_weights(prepared, node) for node in prepared.graph.nodes):
        return
    ahead = _feeding_weights(prepared)
    weighted = [node for node in prepared.graph.nodes if _is_int8(prepared, node)]
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
    """The nodes whose values come to an int8 layer, before one that is kept FP32."""
    feeding = set[Any]()
    for node in reversed(prepared.graph.nodes):
        for user in node.users:
            through = user in feeding and not _has_weights(prepared, user)
            if through or _is_int8(prepared, user):
                feeding.add(node)
    return feeding


def _is_int8(prepared: Any, node: Any) -> bool:
    """Whether it is a layer with weights that becomes int8."""
    if not _has_weights(prepared, node):
        return False
    if node.op != "call_module":
        return True
    return any(
        getattr(child, "qconfig", None) is not None
        for child in prepared.get_submodule(node.target).modules()
    )


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
