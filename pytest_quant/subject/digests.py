"""Digests: what tells samples apart, so that two passes are paired by sample and not by order."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import xxhash

from pytest_quant.subject.fingerprint import known_fingerprint
from pytest_quant.subject.samples import arrays_in, is_by_sample, unpacked
from pytest_quant.subject.weights_digest import tensor_bytes

ADDRESS = re.compile(" at 0x[0-9a-f]+")  # in the text of an object that says nothing else of itself
END = b"\0"  # after a text, which unlike a tensor does not say how long it is
DIGEST_BYTES = 16  # 2**-64 for a collision among 2**32 samples


def digests(value: Any, size: int) -> list[bytes]:
    """One digest for each sample, of all that belongs to it: XXH3-128 of dtype, shape and bytes.

    Tensors, arrays, lists and packed sequences as long as the batch are taken apart by sample; anything
    else belongs to every sample. Equal in every process, and on every machine of one byte order; nothing
    that withstands a forger.
    """
    hashes = [xxhash.xxh3_128() for _ in range(size)]
    _add(hashes, unpacked(value))
    return [digest.digest() for digest in hashes]


def sample_digests(inputs: Any, targets: Any, size: int) -> tuple[list[bytes], list[bytes]]:
    """The digests of each sample's inputs, and of its inputs with its target.

    Inputs are read once: the second is a digest of the first and the target's.
    """
    of_inputs, of_targets = digests(inputs, size), digests(targets, size)
    pairs = zip(of_inputs, of_targets, strict=True)
    return of_inputs, [xxhash.xxh3_128_digest(one + other) for one, other in pairs]


def _add(hashes: list[Any], item: Any) -> None:
    import torch

    size = len(hashes)
    if isinstance(item, torch.Tensor):
        shared = not item.ndim or item.shape[0] != size
        head = f"{item.dtype}{list(item.shape if shared else item.shape[1:])}".encode()
        whole = tensor_bytes(item)
        step = 0 if shared or not size else len(whole) // size
        for index, digest in enumerate(hashes):
            digest.update(head)
            digest.update(whole if shared else whole[index * step : (index + 1) * step])
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
                _add_plain(digest, part)
    elif isinstance(item, list | tuple):
        for part in item:
            _add(hashes, part)
    elif hasattr(item, "__array_interface__"):
        for digest in hashes:
            _add_plain(digest, item)
    elif hasattr(item, "__dict__") and not isinstance(item, type):
        for name, part in vars(item).items():
            _add(hashes, name)
            _add(hashes, part)
    else:
        for digest in hashes:
            _add_plain(digest, item)


def _add_plain(digest: Any, item: Any) -> None:
    """A text, a number or another object, by what it holds and not by where it lies: an image of PIL's is
    another object each time that it is opened."""
    text = "" if isinstance(item, str | bytes) else repr(item)
    if not ADDRESS.search(text):
        digest.update((text or repr(item)).encode() + END)
    elif hasattr(item, "__array_interface__"):
        array = np.asarray(item)
        digest.update(f"{array.dtype}{list(array.shape)}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    elif isinstance(item, Mapping):
        for key in sorted(item, key=str):
            _add_plain(digest, str(key))
            _add_plain(digest, item[key])
    elif isinstance(item, list | tuple):
        for part in item:
            _add_plain(digest, part)
    else:
        digest.update((known_fingerprint(item) or text.encode()) + END)
