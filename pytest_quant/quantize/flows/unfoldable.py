"""Unfoldable: batch normalizations that PyTorch cannot fold into the transposed convolution before them."""

from collections.abc import Collection
from typing import Any

import torch

from pytest_quant.machine import torch_api


def unfoldable(module: Any, whole: Collection[str], trains: bool) -> list[str]:
    """Names of BatchNorms that stand behind a transposed convolution that they cannot be folded into: any
    where the model is to be trained, else one of several groups, whose channels PyTorch takes for others.

    Args:
        module: in the form in which it is to be traced.
        whole: names of submodules that are not looked into.
        trains: whether it is prepared for training.
    """

    def cannot(layer: Any) -> bool:
        transposed = isinstance(layer, torch_api.transposed_base())
        return transposed and (trains or layer.groups > 1)

    if not any(map(cannot, module.modules())):
        return []
    try:
        graph = _Tracer(whole).trace(module)
    except Exception:  # told by the flow that traces it in earnest
        return []
    return [
        node.target
        for node in graph.find_nodes(op="call_module")
        if isinstance(module.get_submodule(node.target), torch_api.batchnorm_base())
        and any(
            each.op == "call_module" and cannot(module.get_submodule(each.target))
            for each in node.all_input_nodes
        )
    ]


class _Tracer(torch.fx.Tracer):
    def __init__(self, whole: Collection[str]) -> None:
        super().__init__()
        self.whole = whole

    def is_leaf_module(self, m: Any, module_qualified_name: str) -> bool:
        return module_qualified_name in self.whole or super().is_leaf_module(
            m, module_qualified_name
        )
