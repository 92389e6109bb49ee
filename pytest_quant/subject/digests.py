"""Digests: what tells samples apart, so that two passes are paired by sample and not by order."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from pytest_quant.subject.batches import tensors_in

END = b"\0"  # after a text, which unlike a tensor does not say how long it is
DIGEST_BYTES = 16  # 2**-64 for a collision among 2**32 samples


def digests(value: Any, size: int) -> list[bytes]:
    """One digest for each sample, of all that belongs to it: BLAKE2b of dtype, shape and bytes.

    Tensors, arrays and lists as long as the batch are taken apart by sample; anything else belongs to
    every sample.
    """
    import torch

    hashes = [hashlib.blake2b(digest_size=DIGEST_BYTES) for _ in range(size)]

    def add(item: Any) -> None:
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
            add(item.tolist())
        elif isinstance(item, Mapping):
            for key in sorted(item, key=str):
                add(str(key))
                add(item[key])
        elif (isinstance(item, list | tuple) and len(item) != size) or (
            isinstance(item, list | tuple) and any(True for _ in tensors_in(item))
        ):
            for part in item:
                add(part)
        elif isinstance(item, list | tuple):
            for digest, part in zip(hashes, item, strict=True):
                digest.update(repr(part).encode() + END)
        elif hasattr(item, "__dict__") and not isinstance(item, type):
            for name, part in vars(item).items():
                add(name)
                add(part)
        else:
            for digest in hashes:
                digest.update(repr(item).encode() + END)

    add(value)
    return [digest.digest() for digest in hashes]
