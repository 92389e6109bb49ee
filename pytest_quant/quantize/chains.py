"""Chains: which layers follow each other in a model, found on its traced graph."""

import copy
import operator
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pytest_quant.quantize.flows.example import Example, narrow

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BATCHNORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True, slots=True)
class Chain:
    """A layer and the modules that its output goes through, one after the other and nowhere else.

    Args:
        names: qualified names: of the layer, then of what follows it.
    """

    names: tuple[str, ...]

    @property
    def layer(self) -> str:
        """The name of the layer that it begins with."""
        return self.names[0]


def chains(module: Any, example: Example) -> Iterator[Chain]:
    """One chain for each convolution and Linear, in the order of execution.

    A chain ends where the graph branches, calls a function, or uses a module a second time that is no
    ReLU. Where
    the whole model cannot be traced, its submodules are, each by itself. A layer that the model
    reads other than by calling it, or whose parameters another module shares, has no chain.

    Args:
        module: the FP32 model.
        example: one call of it.
    """
    known = {id(child): name for name, child in module.named_modules()}
    shared = _shared(module)
    for graph, owner in _graphs(module, example):
        modules = dict(owner.named_modules())
        calls = Counter(id(modules[n.target]) for n in graph.nodes if n.op == "call_module")
        read = {n.target for n in graph.nodes if n.op == "get_attr"}

        def usable(name: str, modules: Any = modules, calls: Any = calls, read: Any = read) -> bool:
            child = modules[name]
            is_read = any(target.startswith(f"{name}.") for target in read)
            once = calls[id(child)] == 1 or type(child) is nn.ReLU  # which has nothing of its own
            return once and id(child) not in shared and not is_read

        for node in graph.nodes:
            if node.op != "call_module" or not is_layer(modules[node.target]):
                continue
            if usable(node.target):
                names = [node.target, *_followers(node, usable)]
                yield Chain(tuple(known[id(modules[name])] for name in names))


def is_layer(module: Any) -> bool:
    """Whether it is a convolution or Linear of PyTorch's whose weight is a plain parameter."""
    return type(module) in (*CONVOLUTIONS, nn.Linear) and "weight" in module._parameters


def batchnorm_of(chain: Chain, modules: dict[str, Any]) -> Any:
    """The BatchNorm with a scale of its own right behind the chain's convolution; None without.

    Args:
        modules: the model's, by name.
    """
    if len(chain.names) < 2 or type(modules[chain.layer]) not in CONVOLUTIONS:
        return None
    after = modules[chain.names[1]]
    own = type(after) in BATCHNORMS and after.affine and after.running_var is not None
    return after if own else None


def folded_scale(batchnorm: Any) -> Any:
    """What folding a BatchNorm multiplies each output channel of its convolution with: [channels]."""
    return batchnorm.weight.detach() / (batchnorm.running_var + batchnorm.eps).sqrt()


def by_channel(values: Any, like: Any, axis: int) -> Any:
    """Values [channels] shaped so that they broadcast along an axis of another tensor."""
    shape = [1] * like.ndim
    shape[axis] = -1
    return values.view(shape)


def _graphs(module: Any, example: Example) -> Iterator[tuple[Any, Any]]:
    """The model's graph and the model, or those of the largest submodules that can be traced."""
    traced = copy.copy(module)  # narrowing changes its class; the submodules stay the model's own
    narrow(traced, example)
    graph = _graph(traced)
    if graph is not None:
        yield graph, module
        return
    seen = set[int]()
    left = [child for _, child in module.named_children()]
    while left:
        child = left.pop(0)
        if id(child) in seen:
            continue
        seen.add(id(child))
        graph = _graph(child)
        if graph is not None:
            yield graph, child
        else:
            left = [*(grandchild for _, grandchild in child.named_children()), *left]


def _graph(module: Any) -> Any:
    try:
        return torch.fx.Tracer().trace(module)
    except Exception:  # whatever user code raises when it meets a proxy
        return None


def _followers(node: Any, usable: Any) -> Iterator[str]:
    """Names of the modules after a node, as long as there is just one user, called with it alone."""
    while len(node.users) == 1:
        node = next(iter(node.users))
        if node.op != "call_module" or len(node.args) != 1 or node.kwargs:
            return
        if not usable(node.target):
            return
        yield node.target


def _shared(module: Any) -> set[int]:
    """Ids of the modules with a parameter that another module has too."""
    owners = [
        (id(parameter), id(child))
        for child in module.modules()
        for parameter in child._parameters.values()
        if parameter is not None
    ]
    count = Counter(map(operator.itemgetter(0), owners))
    return {child for parameter, child in owners if count[parameter] > 1}
