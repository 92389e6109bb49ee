"""Compressed: a weight in fewer bits than float32, which is decompressed whenever it is used."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from pytest_quant.machine import torch_api

PREFIX = "compressed_"  # of the name under which a module has its compressed weight as a child
NORMS = (
    torch_api.norm_base(),  # of batches and of instances
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
)


class Compressed(nn.Module):
    """A weight in whatever tensors hold it. Call it for the weight itself.

    Args:
        shape: of the weight.
        axis: its dimension of output channels, which `matrix` puts first.

    Attributes:
        packed_parameters: how many parameters its tensors stand for.
    """

    def __init__(self, shape: torch.Size, axis: int = 0) -> None:
        super().__init__()
        self.shape = shape
        self.axis = axis
        self.packed_parameters = math.prod(shape)

    def forward(self) -> Tensor:
        """The weight, float32."""
        raise NotImplementedError

    def linear(self, inputs: Tensor, bias: Tensor | None) -> Tensor:
        """What a Linear of this weight gives for inputs of shape [..., in_features]."""
        rows = inputs.reshape(-1, inputs.shape[-1])
        return nn.functional.linear(rows, self(), bias).view(*inputs.shape[:-1], self.shape[0])

    def rows(self, index: Tensor) -> Tensor:
        """What an Embedding of this weight gives: the rows of an index of any shape."""
        return nn.functional.embedding(index, self())

    def extra_repr(self) -> str:
        """For `print(model)`."""
        return f"{tuple(self.shape)}"

    def restored(self, matrix: Tensor) -> Tensor:
        """[channels, values of a channel] in the weight's own shape."""
        front = self.shape[self.axis]
        others = [size for axis, size in enumerate(self.shape) if axis != self.axis]
        return matrix.reshape(front, *others).movedim(0, self.axis)


def matrix_of(weight: Tensor, axis: int) -> Tensor:
    """A weight as [channels, values of a channel]."""
    return weight.movedim(axis, 0).flatten(1)


def filled_up(matrix: Tensor, multiple: int) -> Tensor:
    """A matrix whose rows are filled up with 0 to a multiple of so many values."""
    missing = -matrix.shape[-1] % multiple
    return nn.functional.pad(matrix, (0, missing)) if missing else matrix


@dataclass(frozen=True, slots=True, eq=False)
class Weight:
    """A parameter of at least two dimensions, wherever in a model it is used.

    Args:
        name: the first of the user's names for it.
        tensor: its values.
        owners: each module that has it, and as which attribute; several where weights are tied.
    """

    name: str
    tensor: Tensor
    owners: tuple[tuple[nn.Module, str], ...]

    @property
    def axis(self) -> int:
        """The dimension of its output channels."""
        transposed = torch_api.transposed_base()
        return 1 if all(isinstance(owner, transposed) for owner, _ in self.owners) else 0

    @property
    def is_linear(self) -> bool:
        """Whether nothing but Linear modules use it, each by its own forward.

        The Linear inside attention is never called: attention reads its weight.
        """
        return all(
            attribute == "weight"
            and type(owner).forward is nn.Linear.forward
            and not isinstance(owner, torch_api.attention_linear())
            for owner, attribute in self.owners
        )

    def replace(self, compressed: Compressed) -> None:
        """Let every owner have the compressed weight instead, once for all of them."""
        for owner, attribute in self.owners:
            del owner._parameters[attribute]
            owner.add_module(PREFIX + attribute, compressed)
            base: Any = getattr(type(owner), "compressing", type(owner))
            before: tuple[str, ...] = getattr(type(owner), "compressed", ())
            owner.__class__ = _compressing(base, (*before, attribute))
            owner.__dict__.pop("_flat_weights", None)  # a recurrent module's list of its FP32 ones


def weights_of(module: nn.Module, fp32_names: Collection[str]) -> list[Weight]:
    """The float32 parameters of at least two dimensions, those of normalisations apart.

    One that a module of `fp32_names` has is left out, also where another module shares it.
    """
    owners: dict[int, list[tuple[nn.Module, str]]] = {}
    named: dict[int, tuple[str, Tensor]] = {}
    left_out = set[int]()
    for name, owner in module.named_modules():
        for attribute, parameter in owner._parameters.items():
            if parameter is None or parameter.ndim < 2 or parameter.dtype != torch.float32:
                continue
            if not parameter.numel():
                continue
            key = id(parameter)
            named.setdefault(key, (f"{name}.{attribute}".lstrip("."), parameter.detach()))
            owners.setdefault(key, []).append((owner, attribute))
            if name in fp32_names or isinstance(owner, (*NORMS, torch.jit.ScriptModule)):
                left_out.add(key)
    return [Weight(*named[key], tuple(owners[key])) for key in owners if key not in left_out]


@cache
def _compressing(base: type, attributes: tuple[str, ...]) -> type:
    """A class like `base` whose attributes are decompressed as they are read.

    A Linear and an Embedding ask the compressed weight for their outputs, which it may know how to
    compute without decompressing all of it.
    """
    body: dict[str, Any] = {name: property(partial(_decompressed, name)) for name in attributes}
    body |= {"compressing": base, "compressed": attributes, "__module__": base.__module__}
    body |= {"__qualname__": base.__qualname__, "__doc__": base.__doc__}
    if "weight" in attributes and base.forward is nn.Linear.forward:  # type: ignore[attr-defined]
        body["forward"] = _linear
    if "weight" in attributes and base.forward is nn.Embedding.forward:  # type: ignore[attr-defined]
        body["forward"] = _embedding
    if issubclass(base, nn.RNNBase):
        # PyTorch would keep a list of the decompressed weights, and compare it before each call.
        body["_flat_weights"] = property(_flat_weights, lambda self, value: None)
        body["_init_flat_weights"] = body["_update_flat_weights"] = lambda self: None
    return type(base.__name__, (base,), body)


def _decompressed(attribute: str, owner: nn.Module) -> nn.Parameter:
    # A parameter that is no inference tensor, as FP32's: only with such a one PyTorch multiplies a
    # batch whose dimensions are swapped as one matrix, as attention does. That is twice as fast.
    with torch.inference_mode(False):
        return nn.Parameter(owner._modules[PREFIX + attribute]())  # type: ignore[misc]


def _linear(self: Any, input: Tensor) -> Tensor:
    outputs: Tensor = self._modules[f"{PREFIX}weight"].linear(input, self.bias)
    return outputs


def _embedding(self: Any, input: Tensor) -> Tensor:
    if self.max_norm is not None:
        return nn.Embedding.forward(self, input)
    rows: Tensor = self._modules[f"{PREFIX}weight"].rows(input)
    return rows


def _flat_weights(self: Any) -> list[Tensor | None]:
    return [getattr(self, name, None) for name in self._flat_weights_names]
