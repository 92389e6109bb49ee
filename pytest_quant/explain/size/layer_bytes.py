"""Layer bytes: what each layer of a variant holds in tensors, by the user's names."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pytest_quant.machine import torch_api
from pytest_quant.variant.tensors import bytes_each, parts_of, plain_tensors, state_of, tensors_of
from pytest_quant.variant.variant import Variant

WORDS = {
    "float32": "FP32",
    "float64": "64-bit float",
    "float16": "half precision",
    "bfloat16": "bfloat16",
    "qint8": "int8",
    "quint8": "int8",
    "uint8": "int8 or less",
    "quint4x2": "int4",
    "int64": "integers",
    "int32": "integers",
}


@dataclass(frozen=True, slots=True)
class LayerBytes:
    """The tensors of one layer that are stored in the same way.

    Args:
        layer: the user's qualified name; empty where it belongs to none, or to the model itself.
        type: the class of that module in FP32, ``Conv2d``; empty where it belongs to none.
        dtype: how they are stored, in words: ``FP32``, ``int8``.
        bytes: that they need.
        weight_bytes: of those, what is in tensors of two dimensions or more.
        channels: sizes of the first dimensions of those, added up.
    """

    layer: str
    type: str
    dtype: str
    bytes: int
    weight_bytes: int = 0
    channels: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


def held_by(variant: Variant) -> tuple[LayerBytes, ...]:
    """What the layers hold, those with most first; together it is ``variant.size.tensor_bytes``.

    A callable that is no module holds nothing that can be seen.
    """
    import torch

    if not isinstance(variant.model, torch.nn.Module):
        return ()
    layers = dict(variant.fp32.model.named_modules())
    with variant.running(), torch.inference_mode(False):  # in which wrappers cannot be detached
        named = list(_named(variant.model))
        names = dict[int, str]()
        for name, tensor in named:
            names.setdefault(id(tensor), name)
        sums: dict[tuple[str, str], list[int]] = {}
        for tensor, needed in bytes_each(tensor for _, tensor in named):
            key = _layer(names[id(tensor)], layers), _dtype(tensor)
            weight = tensor.ndim >= 2
            parts = (needed, needed * weight, tensor.shape[0] * weight if weight else 0)
            sums[key] = [a + b for a, b in zip(sums.get(key, (0, 0, 0)), parts, strict=True)]
    found = [
        LayerBytes(layer, type(layers[layer]).__name__ if layer else "", dtype, *parts)
        for (layer, dtype), parts in sums.items()
    ]
    return tuple(sorted(found, key=lambda held: -held.bytes))


def shared_by_layers(model: Any) -> tuple[tuple[LayerBytes, str], ...]:
    """Weights that a layer shares with one before it, as if it held them, and the type of that one; FP32
    stores them once."""
    found, seen = list[tuple[LayerBytes, str]](), dict[int, str]()
    for name, child in model.named_modules():
        for weight in child.parameters(recurse=False):
            if id(weight) in seen and weight.ndim > 1:
                needed = weight.numel() * weight.element_size()
                held = LayerBytes(
                    name, type(child).__name__, "FP32", needed, needed, weight.shape[0]
                )
                found.append((held, seen[id(weight)]))
            seen.setdefault(id(weight), type(child).__name__)
    return tuple(found)


def _named(model: Any) -> Iterator[tuple[str, Any]]:
    """Each tensor with where the model has it; those of a graph of pt2e with the user's layer."""
    graph_names = _graph_names(model)
    listed = [(name, tensors_of(value)) for name, value in state_of(model).items()]
    listed += [(name, iter((tensor,))) for name, tensor in plain_tensors(model)]
    for name, tensors in listed:
        for whole in tensors:
            for part in parts_of(whole):
                yield graph_names.get(name, name), part


def _graph_names(model: Any) -> Mapping[str, str]:
    """Of a graph of pt2e: the name of a tensor -> that of the layer it belongs to, and a dot."""
    if not hasattr(model, "int8_modules"):
        return {}
    found = {}
    for node in model.graph.graph.find_nodes(op="get_attr"):
        users = list(node.users)
        while users and not (owner := torch_api.owner_of(users[0])):
            users = list(users[0].users)
        if users:
            found[f"graph.{node.target}"] = f"{owner}."
    return found


def _layer(name: str, layers: Iterable[str]) -> str:
    """The innermost of the user's modules that a name lies in, also inside a wrapper of the model."""
    while True:
        inside = [layer for layer in layers if layer and name.startswith(f"{layer}.")]
        if inside:
            return max(inside, key=len)
        _, _, name = name.partition(".")
        if not name:
            return ""


def _dtype(tensor: Any) -> str:
    name = str(tensor.dtype).removeprefix("torch.")
    return WORDS.get(name, name)
