"""Operator macs: the multiply-adds of every operator of one call, and the tensors that it reads."""

import math
from collections.abc import Callable, Mapping, Set
from typing import Any

import torch

from pytest_quant.machine import torch_api

ATEN = torch.ops.aten


def _of_matrices(a: Any, b: Any) -> int:
    return int(math.prod(a.shape) * b.shape[-1])


def _of_convolution(args: Any, output: Any) -> int:
    weight, transposed = args[1], len(args) > 6 and args[6]
    positions = args[0] if transposed else output
    return int(positions.numel() * weight[0].numel())


def _of_attention(args: Any) -> int:
    query, key, value = args[:3]
    rows = query.numel() // query.shape[-1]
    return int(rows * key.shape[-2] * (query.shape[-1] + value.shape[-1]))


def _of_trilinear(args: Any) -> int:
    tensors = list(args[:3])
    for index, dims in enumerate(args[3:6]):
        for dim in sorted(dims):
            tensors[index] = tensors[index].unsqueeze(dim)
    sizes = zip(*(tensor.shape for tensor in tensors), strict=True)
    return math.prod(max(size) for size in sizes)


# Operator -> multiply-adds, from its arguments and output. Bias and element-wise work is left out.
COUNTS: dict[Any, Callable[[Any, Any], int]] = {
    ATEN.mm: lambda args, _: _of_matrices(args[0], args[1]),
    ATEN.bmm: lambda args, _: _of_matrices(args[0], args[1]),
    ATEN.addmm: lambda args, _: _of_matrices(args[1], args[2]),
    ATEN.baddbmm: lambda args, _: _of_matrices(args[1], args[2]),
    ATEN._addmm_activation: lambda args, _: _of_matrices(args[1], args[2]),
    ATEN.mv: lambda args, _: int(args[0].numel()),
    ATEN.addmv: lambda args, _: int(args[1].numel()),
    ATEN.dot: lambda args, _: int(args[0].numel()),
    ATEN.linear: lambda args, output: int(output.numel() * args[1].shape[-1]),
    ATEN.convolution: _of_convolution,
    ATEN._trilinear: lambda args, _: _of_trilinear(args),
    ATEN._scaled_dot_product_flash_attention_for_cpu: lambda args, _: _of_attention(args),
}


class Operators(torch_api.operator_mode()):  # type: ignore[misc]
    """While entered, counts what operators multiply, and whose tensors they read.

    Args:
        owners: place of a storage -> name of the layer that owns it.
        apart: places of parameters that no layer owns.

    Attributes:
        by_owner: name of a layer -> multiply-adds of operators that take one of its tensors.
        unassigned: multiply-adds of operators that take none.
        apart: of these, those that take a parameter apart.
        read: places of all storages that an operator took.
        paused: while above 0, nothing is counted; what is read is still seen.
    """

    def __init__(self, owners: Mapping[int, str], apart: Set[int] = frozenset()) -> None:
        super().__init__()
        self.owners = owners
        self.places_apart = apart
        self.by_owner: dict[str, int] = {}
        self.unassigned = 0
        self.apart = 0
        self.read = set[int]()
        self.paused = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, count = kwargs or {}, COUNTS.get(func.overloadpacket)
        if count is None:  # in inference mode what is made of other operators comes as a whole
            with self:
                output = func.decompose(*args, **kwargs)
            if output is not NotImplemented:
                return output
        output = func(*args, **kwargs)
        given = [arg for arg in leaves_of((args, kwargs)) if _is_plain(arg)]
        places = [place_of(tensor) for tensor in given]
        self.read.update(places)
        if count is not None and not self.paused:
            macs = count(args, output)
            owner = next((self.owners[place] for place in places if place in self.owners), None)
            if owner is None:
                self.unassigned += macs
                self.apart += 0 if self.places_apart.isdisjoint(places) else macs
            else:
                self.by_owner[owner] = self.by_owner.get(owner, 0) + macs
        return output


def place_of(tensor: Any) -> int:
    """Where a tensor's storage is; views of one have one place. 0 for a tensor that has none of its own."""
    try:
        return int(tensor.untyped_storage().data_ptr())
    except (NotImplementedError, RuntimeError):
        return 0


def leaves_of(value: Any) -> list[Any]:
    """All values in the arguments or outputs of an operator."""
    return list(torch_api.module(torch_api.PYTREE).tree_leaves(value))


def _is_plain(value: Any) -> bool:
    return (
        isinstance(value, torch.Tensor)
        and value.layout is torch.strided
        and not value.is_quantized
        and type(value) in (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)
    )
