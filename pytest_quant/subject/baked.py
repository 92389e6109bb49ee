"""Baked: weights that a model computes at each call, as under weight_norm, computed once in our copy."""

from collections.abc import Iterator
from typing import Any

from pytest_quant.errors import listed
from pytest_quant.machine import torch_api

SHOWN = 3  # names in a note


def copies_of_computed(model: Any) -> dict[int, Any]:
    """What `copy.deepcopy` is to put in the place of tensors with a history, which it does not copy.

    ``torch.nn.utils.weight_norm`` leaves such on its layers, and a model that keeps what it computed (in a
    list or dict of features, say) has them too.

    Returns:
        A memo: id of a tensor -> its copy. It holds the tensors themselves too, so that ids stay theirs.
    """
    memo = dict[int, Any]()
    for tensor in _computed(model):
        memo[id(tensor)] = tensor.detach().clone()
    return memo


def bake_in(module: Any) -> list[str]:
    """Put plain weights in the place of those that the module computes anew at each call.

    Parametrizations, and weight_norm, spectral_norm and pruning in their older form. What gives another
    weight each time stays as it is. Layers have PyTorch's own types then, which quantization knows.

    Args:
        module: our own copy in eval mode, changed in place; it computes what it did.

    Returns:
        A note, where anything was put in.
    """
    import torch

    names = []
    with torch.no_grad():
        for name, child in module.named_modules():
            if _without_parametrizations(child) | _without_older_hooks(child):
                names.append(name or "the model itself")
    if not names:
        return []
    return [
        f"quant_model computes the weights of {listed(names, SHOWN)} anew at each call (weight_norm or "
        "the like); its copy has them computed once, and FP32 is measured so"
    ]


def _computed(model: Any) -> Iterator[Any]:
    import torch

    def within(value: Any) -> Iterator[Any]:
        if isinstance(value, torch.Tensor):
            if not value.is_leaf:
                yield value
        elif isinstance(value, list | tuple):
            for item in value:
                yield from within(item)
        elif isinstance(value, dict):
            yield from within(list(value.values()))

    for child in model.modules():
        for value in vars(child).values():
            yield from within(value)


def _without_parametrizations(child: Any) -> bool:
    """Whether the module is rid of its parametrizations. Its class, which copies share with the user's
    model, is left as it is, and the module gets the one below."""
    import torch
    from torch.nn.utils import parametrize

    if not parametrize.is_parametrized(child):
        return False
    names = list(child.parametrizations)
    values = [_twice(child, name) for name in names]
    if any(value is None for value in values):
        return False
    trains = [any(p.requires_grad for p in child.parametrizations[n].parameters()) for n in names]
    are_buffers = [not any(True for _ in child.parametrizations[n].parameters()) for n in names]
    child.__class__ = type(child).__bases__[0]
    del child._modules["parametrizations"]
    for name, value, train, is_buffer in zip(names, values, trains, are_buffers, strict=True):
        if is_buffer:
            child.register_buffer(name, value)
        else:
            setattr(child, name, torch.nn.Parameter(value, requires_grad=train))
    return True


def _twice(child: Any, name: str) -> Any:
    """A computed weight; None where it is another one the second time."""
    import torch

    state = torch.get_rng_state()
    value, again = getattr(child, name), getattr(child, name)
    if not torch.equal(state, torch.get_rng_state()) or not torch.equal(value, again):
        return None
    return value.detach().clone()


def _without_older_hooks(child: Any) -> bool:
    hooks = [*torch_api.hooks_of(child)[0].values()]
    removed = [torch_api.remove_reparametrization(child, hook) for hook in hooks]
    return any(removed)
