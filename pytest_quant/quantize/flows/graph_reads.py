"""Graph reads: what a traced graph reads of layers besides calling them is its own, before they change."""

import operator
from typing import Any

import torch

from pytest_quant.quantize.flows.reads import METHODS, PROPERTIES


def own_reads(prepared: Any) -> None:
    """Let a graph hold itself the tensors that it reads of layers that it calls too.

    A layer's int8 successor has no tensor of that name. What is asked of a tensor's form alone becomes
    a constant.

    Args:
        prepared: just before its conversion.
    """
    graph = prepared.graph
    called = {node.target for node in graph.find_nodes(op="call_module")}
    for node in list(graph.find_nodes(op="get_attr")):
        owner, _, name = node.target.rpartition(".")
        if owner not in called:
            continue
        tensor = getattr(prepared.get_submodule(owner), name)
        if not isinstance(tensor, torch.Tensor):
            continue
        for user in [user for user in node.users if _asks_form(user)]:
            _replace(graph, user, _form(user, tensor))
        if node.users:
            node.target = _held(prepared, tensor, f"{owner.replace('.', '_')}_{name}_read")
        else:
            graph.erase_node(node)
    prepared.recompile()


def _asks_form(node: Any) -> bool:
    if node.target is getattr:
        return node.args[1] in PROPERTIES
    return node.op == "call_method" and node.target in METHODS


def _form(node: Any, tensor: Any) -> Any:
    if node.target is getattr:
        return getattr(tensor, node.args[1])
    return getattr(tensor, node.target)(*node.args[1:], **node.kwargs)


def _replace(graph: Any, node: Any, value: Any) -> None:
    """Put a constant where a node stood, and where items of it were taken."""

    def change(argument: Any) -> Any:
        return value if argument is node else argument

    for user in list(node.users):
        if user.target is operator.getitem and user.args[0] is node:
            _replace(graph, user, value[user.args[1]])
        else:
            user.args = torch.fx.map_arg(user.args, change)
            user.kwargs = torch.fx.map_arg(user.kwargs, change)
    graph.erase_node(node)


def _held(prepared: Any, tensor: Any, name: str) -> str:
    if not hasattr(prepared, name):
        prepared.register_buffer(name, tensor.detach().clone(), persistent=False)
    return name
