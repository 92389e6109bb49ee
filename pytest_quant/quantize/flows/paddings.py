"""Paddings: what PyTorch's int8 convolutions do not pad themselves is padded before them.

They take numbers, the same at both ends, and zeros. ``padding="same"`` is told in numbers where it is the
same at both ends; the rest, and padding that repeats, reflects or goes round, is an operation of its own.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from pytest_quant.machine import torch_api
from pytest_quant.quantize.flows.observed_graph import observer_at


@dataclass(frozen=True, slots=True)
class Padding:
    """What is put round a convolution's inputs.

    Args:
        sizes: before and after, of the last dimension first, as `torch.nn.functional.pad` takes them.
        mode: ``constant`` for zeros, ``replicate``, ``circular`` or ``reflect``.
    """

    sizes: tuple[int, ...]
    mode: str

    @property
    def is_even(self) -> bool:
        """Whether both ends have as much."""
        return self.sizes[::2] == self.sizes[1::2]


def in_numbers(module: Any) -> None:
    """Tell each convolution its padding in numbers, so that its trace has no text for it.

    Args:
        module: our own copy, changed in place; it computes what it did.
    """
    for _, layer, padding in _padded(module):
        if padding.mode == "constant" and padding.is_even:
            layer.padding = padding.sizes[::-2]
        elif padding.mode == "constant":  # its own forward pads by this name too
            torch_api.set_padding(layer, padding.sizes, padding.mode)


def set_aside(module: Any) -> dict[str, Padding]:
    """Rid convolutions of what their int8 kernels cannot pad; to be put before them again.

    Args:
        module: our own copy, changed in place: what is set aside is missing then.

    Returns:
        What is missing, by the names of the layers.
    """
    in_numbers(module)
    found = {}
    for name, layer, padding in _padded(module):
        found[name] = padding
        torch_api.set_padding(layer, (0,) * len(padding.sizes), "zeros")
        layer.padding = (0,) * (len(padding.sizes) // 2)
    return found


def put_before_calls(prepared: Any, found: Mapping[str, Padding]) -> None:
    """Pad the inputs of each call of these layers in a graph with observers, and observe them again.

    Padding changes no range, so that what is observed before it serves behind it too.
    """
    graph = prepared.graph
    for node in list(graph.find_nodes(op="call_module")):
        padding = found.get(node.target)
        if padding is None:
            continue
        before = node.args[0]
        with graph.inserting_before(node):
            inputs = graph.call_function(padded, (before, padding.sizes, padding.mode))
            if observer_at(prepared, before) is not None:
                inputs = graph.call_module(before.target, (inputs,))
        node.update_arg(0, inputs)
    prepared.recompile()


def put_into_hooks(module: Any, found: Mapping[str, Padding]) -> None:
    """Pad the inputs of these layers, or of what they were fused into, by hooks, which eager mode keeps
    when it swaps layers."""
    for name, padding in found.items():
        layer = module.get_submodule(name)
        layer.register_forward_pre_hook(partial(_pads, padding))


def padded(inputs: Any, sizes: tuple[int, ...], mode: str) -> Any:
    """The inputs with a padding round them; int8 ones stay so."""
    if inputs.is_quantized:
        scale, zero = inputs.q_scale(), inputs.q_zero_point()
        made = padded(inputs.dequantize(), sizes, mode)
        return torch.quantize_per_tensor(made, scale, zero, inputs.dtype)
    return torch.nn.functional.pad(inputs, sizes, mode=mode)


def _pads(padding: Padding, layer: Any, inputs: Any) -> Any:
    return (padded(inputs[0], padding.sizes, padding.mode), *inputs[1:])


def _padded(module: Any) -> Iterator[tuple[str, Any, Padding]]:
    """The convolutions whose padding is more than numbers of zeros, the same at both ends."""
    for name, layer in module.named_modules():
        if not isinstance(layer, torch_api.convolution_base()):
            continue
        if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
            mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
            yield name, layer, Padding(torch_api.padding_of(layer), mode)
