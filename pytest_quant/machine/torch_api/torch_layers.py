"""Layers: PyTorch's own classes of layers, and what they hold."""

import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pytest_quant.machine.torch_api.torch_modules import module


def convolution_base() -> Any:
    """The class of all convolutions. Without it multiply-adds would be unknown."""
    import torch

    return torch.nn.modules.conv._ConvNd


def transposed_base() -> Any:
    """The class of all transposed convolutions, whose weights have output channels second."""
    import torch

    return torch.nn.modules.conv._ConvTransposeNd


def padding_of(layer: Any) -> tuple[int, ...]:
    """What a convolution pads before and after, of the last dimension first."""
    return tuple(layer._reversed_padding_repeated_twice)


def set_padding(layer: Any, sizes: tuple[int, ...], mode: str) -> None:
    """Let a convolution pad so; ``constant``, which is not offered, is what `F.pad` calls zeros."""
    layer.padding_mode = mode
    layer._reversed_padding_repeated_twice = list(sizes)


def batchnorm_base() -> Any:
    """The class of all batch normalizations, which are folded into convolutions."""
    import torch

    return torch.nn.modules.batchnorm._BatchNorm


def norm_base() -> Any:
    """The class of normalizations of batches and of instances."""
    import torch

    return torch.nn.modules.batchnorm._NormBase


def attention_linear() -> Any:
    """The Linear inside attention, whose weight attention reads, so that it is never called."""
    import torch

    return torch.nn.modules.linear.NonDynamicallyQuantizableLinear


def quantized_embeddings() -> tuple[Any, Any]:
    """The classes of int8 Embedding and EmbeddingBag."""
    quantized = module("torch.ao.nn.quantized")
    return quantized.Embedding, quantized.EmbeddingBag


def is_quantized_layer(child: Any) -> bool:
    """Whether a module is one of PyTorch's layers that compute in int8, or round as those do.

    Those that add or concatenate for a model that eager mode is to quantize compute in float till then.
    """
    kind = type(child)
    is_float = kind.__name__ in ("FloatFunctional", "FXFloatFunctional")
    places = ("torch.ao.nn.quantized.", "torch.ao.nn.intrinsic.quantized.")
    return kind.__module__.startswith(places) and not is_float


def remove_reparametrization(child: Any, hook: Any) -> bool:
    """Whether a hook computes a module's weight in the older way, and was removed; its result stays."""
    removers = {
        ("torch.nn.utils.weight_norm", "WeightNorm"): "remove_weight_norm",
        ("torch.nn.utils.spectral_norm", "SpectralNorm"): "remove_spectral_norm",
    }
    kind = type(hook)
    if any(each.__name__ == "BasePruningMethod" for each in kind.__mro__):
        module("torch.nn.utils.prune").remove(child, hook._tensor_name)
        return True
    remover = removers.get((kind.__module__, kind.__name__))
    if remover is None:
        return False
    getattr(module(kind.__module__), remover)(child, hook.name)
    for hooks in (child._load_state_dict_pre_hooks, child._state_dict_hooks):
        for key, each in list(hooks.items()):  # spectral_norm's, which PyTorch forgets to take back
            if type(getattr(each, "hook", each)).__module__ == kind.__module__:
                del hooks[key]
    return True


def is_compiled(model: Any) -> bool:
    """Whether torch.compile made a model, which cannot be copied then."""
    return hasattr(model, "_orig_mod")


def unsaved_buffers(child: Any) -> Iterator[tuple[str, Any]]:
    """A module's buffers that no state dict has, by name. Their bytes count all the same."""
    buffers = dict(child.named_buffers(recurse=False))
    saved = child.state_dict(keep_vars=True) if buffers else {}  # which unpacks all packed weights
    for name, buffer in buffers.items():
        if name not in saved:
            yield name, buffer


def wrapped(tensor: Any) -> list[Any] | None:
    """The tensors inside a wrapper such as torchao's; None for a plain tensor."""
    flatten = getattr(tensor, "__tensor_flatten__", None)
    return None if flatten is None else [getattr(tensor, name) for name in flatten()[0]]


def packed_classes() -> list[Any]:
    """What packed recurrent weights are in a file: objects of PyTorch's own C++ classes."""
    import torch

    return [torch.ScriptObject]


def is_packed_weight(value: Any) -> bool:
    """Whether an attribute is packed weights of int8 or half precision, as `linear_prepack` gives them."""
    import torch

    classes = ("__torch__.torch.classes.quantized.", "__torch__.torch.classes.rnn.")
    return isinstance(value, torch.ScriptObject) and str(value._type().qualified_name()).startswith(
        classes
    )


def quantized_parts(tensor: Any) -> list[Any]:
    """What a quantized tensor is made of: integers, scales, zero points, axis."""
    import torch

    parts: list[Any] = [str(tensor.qscheme()), tensor.int_repr()]
    if tensor.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        return [*parts, tensor.q_scale(), tensor.q_zero_point()]
    scales, points = tensor.q_per_channel_scales(), tensor.q_per_channel_zero_points()
    return [*parts, scales, points, tensor.q_per_channel_axis()]


def unguarded(function: Any) -> Any:
    """One of PyTorch's own functions in Python, which asks nobody whether he overrides it, but lets those
    functions ask that it calls."""
    own = {**function.__globals__, "has_torch_function": lambda _: False}
    made = types.FunctionType(
        function.__code__, own, function.__name__, function.__defaults__, function.__closure__
    )
    made.__kwdefaults__ = function.__kwdefaults__
    return made


@contextmanager
def without_fast_path() -> Iterator[None]:
    """With attention's fast path off, whose fused kernels read FP32 weights and hide the layers."""
    import torch

    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
