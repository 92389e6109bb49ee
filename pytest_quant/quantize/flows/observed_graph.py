"""Observed graph: the observers, or fake-quantize modules, that FX has put between operations."""

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch

from pytest_quant.subject.modes import in_eval


def observer_at(prepared: Any, node: Any) -> Any:
    """The observer, or fake-quantize module, that a node calls; None where it calls another."""
    if node.op != "call_module" or "activation_post_process" not in node.target:
        return None
    return prepared.get_submodule(node.target)


def own_observer(shared: Any, usual: Callable[[], Any]) -> Any:
    """An observer like one that is shared, for one of those that share it.

    Args:
        usual: makes an activation's; for one of a fixed range, which is another operation's.
    """
    return usual() if "FixedQParams" in type(shared).__name__ else copy.deepcopy(shared)


def take_off(prepared: Any, nodes: Iterable[Any]) -> None:
    """Let what stands before these observers stay float for all that comes after.

    Args:
        prepared: its observers that are no longer called go too; else they would have seen nothing.
        nodes: which call observers.
    """
    for node in nodes:
        node.replace_all_uses_with(node.args[0])
        prepared.graph.erase_node(node)
    used = {node.target for node in prepared.graph.nodes}
    for name, _ in list(prepared.named_children()):
        if "activation_post_process" in name and name not in used:
            prepared.delete_submodule(name)
    prepared.recompile()


def take_off_integers(prepared: Any, inputs: Iterable[Any]) -> None:
    """Take the observers off integers: FX lets them see ``ids.view(...)`` too, as if it could round them.

    Args:
        inputs: of one call, in order.
    """
    integers = list[Any]()

    class Looks(torch.fx.Interpreter):
        def run_node(self, node: Any) -> Any:
            if observer_at(prepared, node) is None:
                return super().run_node(node)
            value = self.env[node.args[0]]
            if isinstance(value, torch.Tensor) and not value.is_floating_point():
                integers.append(node)
            return value

    if not any(isinstance(v, torch.Tensor) and not v.is_floating_point() for v in inputs):
        return
    try:
        with in_eval(prepared), torch.no_grad(), torch.random.fork_rng(devices=[]):
            Looks(prepared, garbage_collect_values=False).run(*inputs)
    except Exception:  # what cannot run is refused where it is to run
        return
    take_off(prepared, integers)
