"""Transposed: layers of transformers that are a Linear with its weight the other way round."""

from typing import Any

from pytest_quant.errors import listed
from pytest_quant.machine import torch_api

SHOWN = 3  # names in a note
CONV1D = ("transformers.pytorch_utils", "Conv1D")  # of GPT-2 and its kin; its weight is [in, out]
MODELS = "transformers.models."


def as_linear(module: Any) -> list[str]:
    """Put an `nn.Linear` in the place of each ``Conv1D`` of transformers, which is no convolution.

    No quantization of PyTorch's knows that class, so that GPT-2 would stay FP32. A layer stays as it is
    where it has hooks, a ``forward`` of its own or a weight that another module holds too, and outside
    the models of transformers: other code, such as an adapter's, may read its weight.

    Args:
        module: our own copy, changed in place; its outputs are what they were but for rounding.

    Returns:
        A note, where anything was put in.
    """
    holders: dict[int, int] = {}
    for child in module.modules():
        for parameter in child.parameters(recurse=False):
            holders[id(parameter)] = holders.get(id(parameter), 0) + 1
    made: dict[int, Any] = {}
    names = []
    for name, parent in list(module.named_modules()):
        if not type(parent).__module__.startswith(MODELS):
            continue
        for own, child in list(parent._modules.items()):
            if not _is_plain(child) or max(holders[id(p)] for p in child.parameters()) > 1:
                continue
            if id(child) not in made:
                made[id(child)] = _linear(child)
                names.append(f"{name}.{own}".lstrip("."))
            parent._modules[own] = made[id(child)]
    if not names:
        return []
    return [
        f"{listed(names, SHOWN)} are Conv1D of transformers, a Linear with its weight transposed; the copy "
        "of quant_model has nn.Linear there, which int8 kernels know, and FP32 is measured so"
    ]


def _is_plain(child: Any) -> bool:
    """Whether it is such a layer, and nothing was done to it."""
    if (type(child).__module__, type(child).__qualname__) != CONV1D:
        return False
    has_hooks = any(map(len, torch_api.hooks_of(child)))
    parts = [*child._parameters, *child._buffers, *child._modules]
    return parts == ["weight", "bias"] and not has_hooks and "forward" not in vars(child)


def _linear(layer: Any) -> Any:
    import torch

    inputs, outputs = layer.weight.shape
    made = torch.nn.Linear(inputs, outputs, device="meta")
    weight = layer.weight.detach().t().contiguous()
    made.weight = torch.nn.Parameter(weight, requires_grad=layer.weight.requires_grad)
    made.bias = layer.bias
    made.train(layer.training)
    for name, value in vars(layer).items():  # such as nf, which a model may read
        if not hasattr(made, name):
            setattr(made, name, value)
    return made
