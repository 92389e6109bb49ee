"""Digests: what tells samples apart, so that two passes are paired by sample and not by order."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from pytest_quant.subject.samples import arrays_in, is_by_sample, unpacked

END = b"\0"  # after a text, which unlike a tensor does not say how long it is
DIGEST_BYTES = 16  # 2**-64 for a collision among 2**32 samples


def digests(value: Any, size: int) -> list[bytes]:
    """One digest for each sample, of all that belongs to it: BLAKE2b of dtype, shape and bytes.

    Tensors, arrays, lists and packed sequences as long as the batch are taken apart by sample; anything
    else belongs to every sample.
    """
    hashes = [hashlib.blake2b(digest_size=DIGEST_BYTES) for _ in range(size)]
    _add(hashes, unpacked(value))
    return [digest.digest() for digest in hashes]


def _add(hashes: list[Any], item: Any) -> None:
    import torch

    size = len(hashes)
    if isinstance(item, torch.Tensor):
        shared = not item.ndim or item.shape[0] != size
        tensor = item.detach().cpu().contiguous()
        head = f"{tensor.dtype}{list(tensor.shape if shared else tensor.shape[1:])}".encode()
        if tensor.dtype == torch.bfloat16:
            tensor = tensor.view(torch.int16)
        whole = tensor.numpy()
        for index, digest in enumerate(hashes):
            digest.update(head)
            digest.update((whole if shared else whole[index]).tobytes())
    elif isinstance(item, np.ndarray):
        _add(hashes, item.tolist())
    elif isinstance(item, Mapping):
        for key in sorted(item, key=str):
            _add(hashes, str(key))
            _add(hashes, item[key])
    elif isinstance(item, list | tuple) and is_by_sample(item, size):
        has_arrays = any(True for _ in arrays_in(item))
        for digest, part in zip(hashes, item, strict=True):
            if has_arrays:
                _add([digest], part)
            else:
                digest.update(repr(part).encode() + END)
    elif isinstance(item, list | tuple):
        for part in item:
            _add(hashes, part)
    elif hasattr(item, "__dict__") and not isinstance(item, type):
        for name, part in vars(item).items():
            _add(hashes, name)
            _add(hashes, part)
    else:
        for digest in hashes:
            digest.update(repr(item).encode() + END)
