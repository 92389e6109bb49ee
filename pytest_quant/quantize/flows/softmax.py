"""Softmax: the scores that go into it stay float in a traced graph."""

from typing import Any

import torch

from pytest_quant.quantize.flows.observed_graph import observer_at, take_off

FUNCTIONS = (torch.softmax, torch.nn.functional.softmax)


def free_scores(prepared: Any) -> None:
    """Take the observers, or fake-quantize modules, off what goes into each softmax of an FX graph.

    Where a mask is added to attention's scores, they reach from about 0 to -10,000 or float32's lowest
    value. No 8 bits hold that: the scores that count would all become equal. It costs nothing, since
    softmax computes in float anyway.
    """
    loose = set()
    for node in prepared.graph.nodes:
        if not _is_softmax(node, prepared):
            continue
        scores = node.all_input_nodes[0]
        if observer_at(prepared, scores) is not None:
            node.replace_input_with(scores, scores.args[0])
            if not scores.users:
                loose.add(scores)
    take_off(prepared, loose)


def _is_softmax(node: Any, graph_module: Any) -> bool:
    if node.op == "call_module":
        return isinstance(graph_module.get_submodule(node.target), torch.nn.Softmax)
    return node.target in FUNCTIONS or (node.op == "call_method" and node.target == "softmax")
