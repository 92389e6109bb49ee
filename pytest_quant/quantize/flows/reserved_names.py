"""Reserved names: of submodules, those that a graph needs for itself, or that are none in its code."""

import keyword
from collections.abc import Collection
from functools import cache
from typing import Any


def reserved_name(module: Any, more: Collection[str] = ()) -> str | None:
    """Why no graph can be made of a model, in half a sentence; None where no name stands in the way.

    What lies deeper is inside plain modules in a graph, and may have any name that is one in Python.

    Args:
        module: the model.
        more: names that a flow sets on a graph.
    """
    own = [*dict(module.named_children()), *module._parameters, *module._buffers]
    for name in own:
        if name in more or name in _taken():
            return (
                f"self.{name} has a name that PyTorch's graph modules use themselves; rename it, to "
                f"self.{name.strip('_')}_layer for example"
            )
    return None


def keyword_name(module: Any) -> str | None:
    """The same of a submodule at any depth that is called as a word of Python's grammar; a graph that does
    without it can be made."""
    for path, _ in module.named_modules():
        if any(keyword.iskeyword(part) for part in path.split(".")):
            return f"{path} is no name in Python's code, which a graph is written in; rename it"
    return None


@cache
def _taken() -> frozenset[str]:
    """What a graph module has beyond any module."""
    import torch

    made = torch.fx.GraphModule(torch.nn.Module(), torch.fx.Graph())
    return frozenset(dir(made)) - frozenset(dir(torch.nn.Module()))
