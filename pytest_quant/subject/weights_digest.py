"""Weights digest: what tells one checkpoint of a model from another, also on another machine."""

import hashlib
from collections.abc import Iterator
from typing import Any

DIGEST_BYTES = 8  # as of an eval set's fingerprint: 2**-64 for two checkpoints to be taken for one


def weights_digest(module: Any) -> str | None:
    """16 hex digits: BLAKE2b of the names, types, shapes and values of all parameters and buffers.

    Equal in every process, and on every machine of one byte order. Buffers that are not saved belong to
    it, since the model computes with them. None for a module without any, and where a tensor has no
    values to read.
    """
    digest, count = hashlib.blake2b(digest_size=DIGEST_BYTES), 0
    try:
        for name, tensor in sorted(_tensors(module), key=lambda each: each[0]):
            digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
            digest.update(tensor_bytes(tensor))
            count += 1
    except (AttributeError, RuntimeError, TypeError, ValueError):
        return None  # a meta tensor, an uninitialized parameter, a wrapper without storage
    return digest.hexdigest() if count else None


def _tensors(module: Any) -> Iterator[tuple[str, Any]]:
    """Under each of its names, since which layers share a tensor is part of a model."""
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def tensor_bytes(tensor: Any) -> Any:
    """A tensor's values in the order of its dimensions, as a buffer of bytes."""
    import torch

    plain = tensor.detach()
    if plain.layout is not torch.strided:
        plain = plain.to_dense()
    flat = plain.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if flat.numel() else b""
