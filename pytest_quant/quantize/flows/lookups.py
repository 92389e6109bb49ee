"""Lookups: int8 embeddings that take ids as FP32's do, and those that PyTorch has no right kernel for."""

from collections.abc import Mapping
from typing import Any

import torch

from pytest_quant.machine import torch_api


def has_embedding_kernel(layer: Any) -> bool:
    """Whether PyTorch's int8 kernel computes what this embedding does; true of other layers.

    None knows max_norm; that of EmbeddingBag only sums, from which means come too, and no maxima.
    """
    if not isinstance(layer, torch.nn.Embedding | torch.nn.EmbeddingBag):
        return True
    if layer.max_norm is not None:
        return False
    return isinstance(layer, torch.nn.Embedding) or layer.mode in ("sum", "mean")


def paddings_of(module: Any) -> dict[str, int]:
    """The row that each EmbeddingBag leaves out, which its int8 layer forgets, by the layer's name."""
    return {
        name: child.padding_idx
        for name, child in module.named_modules(remove_duplicate=False)
        if isinstance(child, torch.nn.EmbeddingBag) and child.padding_idx is not None
    }


def take_any_ids(converted: Any, paddings: Mapping[str, int]) -> Any:
    """Let each int8 embedding take what FP32's takes: ids of any layout and shape, as columns, transposes
    and three dimensions; bags of which the mean is asked, and those that leave out a row.

    PyTorch's kernels want contiguous ids of one or two dimensions, and sum all that they are given.

    Args:
        converted: changed in place.
        paddings: of the module before its conversion, as `paddings_of` finds them.
    """
    embedding, bag = torch_api.quantized_embeddings()
    for name, child in converted.named_modules():
        if type(child) is bag:
            child.padding_idx = paddings.get(name)
        for kind, forward in ((bag, _bag), (embedding, _embedding)):  # a bag is an embedding too
            if type(child) is kind:
                space = {
                    "forward": forward,
                    "__module__": kind.__module__,
                    "__qualname__": kind.__qualname__,
                }
                child.__class__ = type(kind.__name__, (kind,), space)
    return converted


def _embedding(self: Any, input: Any) -> Any:  # named as FP32's, for those who call it by name
    kernel: Any = type(self).__mro__[1].forward  # type: ignore[attr-defined]
    if input.ndim in (1, 2):
        return kernel(self, input.contiguous())
    return kernel(self, input.reshape(-1)).reshape(*input.shape, self.embedding_dim)


def _bag(
    self: Any, input: Any, offsets: Any = None, per_sample_weights: Any = None, *more: Any
) -> Any:
    kernel: Any = type(self).__mro__[1].forward  # type: ignore[attr-defined]
    indices = input
    if indices.ndim == 2 and self.include_last_offset:  # by which the kernel drops a row
        offsets = torch.arange(0, indices.numel() + 1, indices.shape[1], dtype=indices.dtype)
        indices = indices.reshape(-1)
        if per_sample_weights is not None:
            per_sample_weights = per_sample_weights.reshape(-1)
    if self.mode == "mean" or self.padding_idx is not None:
        per_sample_weights = _weights(self, indices, offsets, per_sample_weights)
    given = (indices, offsets, per_sample_weights)
    return kernel(self, *(None if each is None else each.contiguous() for each in given), *more)


def _weights(self: Any, indices: Any, offsets: Any, given: Any) -> Any:
    """By how much each id counts in the sum of its bag: padding not at all, and in a mean all the same."""
    counted = torch.ones(indices.shape)
    if self.padding_idx is not None:
        counted = (indices != self.padding_idx).float()
    if self.mode != "mean":
        return counted if given is None else counted * given
    if indices.ndim > 1:
        return counted / counted.sum(1, keepdim=True).clamp(min=1)
    bags = torch.bucketize(torch.arange(len(indices)), offsets, right=True) - 1
    sizes = torch.zeros(len(offsets)).index_add(0, bags, counted)
    return counted / sizes.clamp(min=1)[bags]
