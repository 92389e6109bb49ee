"""Owners: which layer of the user's an operation of a traced graph stands for."""

from typing import Any

import torch

F, ATEN = torch.nn.functional, torch.ops.aten
WEIGHTED = (
    *(F.linear, F.conv1d, F.conv2d, F.conv3d),
    *(ATEN.linear.default, ATEN.conv1d.default, ATEN.conv2d.default, ATEN.conv3d.default),
)


def weight_owners(prepared: Any) -> dict[str, str]:
    """The operations of a prepared graph that take an observed weight, and the user's layer that owns it.

    Returns:
        Name of a node -> name of a layer. A layer of FX that is called is a node itself, and not here.
    """
    owners = {}
    for node in prepared.graph.nodes:
        if node.target not in WEIGHTED or len(node.args) < 2 or node.args[1].op != "call_module":
            continue
        weight = node.args[1].all_input_nodes[0]  # before its observer
        if weight.op == "get_attr" and weight.target.endswith(".weight"):
            owners[node.name] = weight.target.removesuffix(".weight")
    return owners
