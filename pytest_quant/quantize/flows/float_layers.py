"""Float layers: layers that FX must leave as they are, though it has int8 kernels for their type."""

from collections.abc import Iterable
from typing import Any

import torch

from pytest_quant.machine import torch_api
from pytest_quant.quantize.flows.lookups import has_embedding_kernel
from pytest_quant.quantize.layer_types import WEIGHTED

# PyTorch's int8 kernel of PReLU multiplies positive values too where their sum with the scale asks for
# it; that of InstanceNorm ignores running statistics, and loses samples of large batches.
WRONG_IN_INT8 = (
    torch.nn.PReLU,
    torch.nn.InstanceNorm1d,
    torch.nn.InstanceNorm2d,
    torch.nn.InstanceNorm3d,
)


def wrong_in_int8(module: Any) -> list[str]:
    """Names of the layers whose int8 kernels in PyTorch compute something else, or that have forward hooks,
    which the int8 layer in their place does not."""
    return [
        name
        for name, child in module.named_modules()
        if type(child) in WRONG_IN_INT8
        or not has_embedding_kernel(child)
        or _has_hooks(name, child)
    ]


def _has_hooks(name: str, child: Any) -> bool:
    """Whether a layer of PyTorch's own, which FX replaces as a whole, has hooks that are a part of it."""
    is_layer = bool(name) and type(child).__name__ in WEIGHTED
    return is_layer and any(map(len, torch_api.hooks_of(child)[:2]))


def hide(module: Any, names: Iterable[str]) -> None:
    """Give layers a type of their own, which is the old one in all but identity.

    FX looks types up when it converts, whatever the qconfig says: a LayerNorm between two int8 layers
    becomes int8 though it was to stay FP32. Layers with weights to round do not, and are still fused.
    """
    for name in names:
        child = module.get_submodule(name)
        own = type(child)
        if own.__name__ not in WEIGHTED and not _is_hidden(own):
            space = {"__module__": own.__module__, "__qualname__": own.__qualname__, "shows": own}
            child.__class__ = type(own.__name__, (own,), space)


def show(module: Any) -> None:
    """Give hidden layers their own type back."""
    for child in module.modules():
        if _is_hidden(type(child)):
            child.__class__ = type(child).shows


def _is_hidden(kind: type) -> bool:
    return "shows" in vars(kind)
