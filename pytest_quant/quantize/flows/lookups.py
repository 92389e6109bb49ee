"""Lookups: int8 embeddings that take ids as FP32's do, and those that PyTorch has no right kernel for."""

from typing import Any

import torch

from pytest_quant.machine import torch_api


def has_embedding_kernel(layer: Any) -> bool:
    """Whether PyTorch's int8 kernel computes what this embedding does; true of other layers.

    That of Embedding knows no max_norm; that of EmbeddingBag only sums, and adds what stands at
    padding_idx too, which does no harm as long as it is zero.
    """
    if not isinstance(layer, torch.nn.Embedding | torch.nn.EmbeddingBag):
        return True
    if layer.max_norm is not None:
        return False
    if isinstance(layer, torch.nn.Embedding):
        return True
    padding = layer.padding_idx
    return layer.mode == "sum" and (padding is None or not bool(layer.weight[padding].any()))


def take_any_ids(converted: Any) -> Any:
    """Let each int8 embedding take ids of any layout and shape: columns, transposes, three dimensions.

    PyTorch's kernels want contiguous ids of one or two dimensions.

    Args:
        converted: changed in place.
    """
    embedding, bag = torch_api.quantized_embeddings()
    for child in converted.modules():
        for kind, forward in ((bag, _bag), (embedding, _embedding)):  # a bag is an embedding too
            if type(child) is kind:
                space = {
                    "forward": forward,
                    "__module__": kind.__module__,
                    "__qualname__": kind.__qualname__,
                }
                child.__class__ = type(kind.__name__, (kind,), space)
    return converted


def _embedding(self: Any, indices: Any) -> Any:
    kernel: Any = type(self).__mro__[1].forward  # type: ignore[attr-defined]
    if indices.ndim in (1, 2):
        return kernel(self, indices.contiguous())
    return kernel(self, indices.reshape(-1)).reshape(*indices.shape, self.embedding_dim)


def _bag(
    self: Any, indices: Any, offsets: Any = None, per_sample_weights: Any = None, *more: Any
) -> Any:
    kernel: Any = type(self).__mro__[1].forward  # type: ignore[attr-defined]
    given = (indices, offsets, per_sample_weights)
    return kernel(self, *(None if each is None else each.contiguous() for each in given), *more)
