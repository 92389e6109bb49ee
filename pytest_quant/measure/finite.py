"""Finite: where outputs hold NaN or infinities, in whatever tensor and wherever the batch lies in it."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from pytest_quant.subject.logits import as_tensor
from pytest_quant.subject.samples import arrays_in, rebuilt, rows, unpacked


def irregular(outputs: Any, size: int) -> list[bytes]:
    """For each of `size` samples ``nan`` or ``inf`` and a digest of where; b"" where all is finite.

    A tensor's samples lie along its first dimension that is as long as the batch; what has none, or is
    a plain number, belongs to every sample.
    """
    if all(_is_finite(each) for each in _numbers_in(outputs)):
        return [b""] * size
    apart = rebuilt(unpacked(outputs), lambda leaf: _batch_first(leaf, size))
    return [_mark(rows(apart, [index], size)) for index in range(size)]


def _mark(sample: Any) -> bytes:
    import torch

    kind, digest = b"", hashlib.blake2b(digest_size=8)
    for each in _numbers_in(sample):
        finite = torch.isfinite(each)
        if not finite.all():
            has_nan = bool(torch.isnan(each).any())
            kind = b"nan" if has_nan or kind == b"nan" else b"inf"
        signs = torch.where(finite, torch.zeros_like(each), each)
        signs = torch.view_as_real(signs) if signs.is_complex() else signs
        digest.update(str(list(signs.shape)).encode() + signs.double().numpy().tobytes())
    return kind and kind + digest.hexdigest().encode()


def _is_finite(values: Any) -> bool:
    import torch

    return bool(torch.isfinite(values).all())


def _numbers_in(outputs: Any) -> Iterator[Any]:
    """All floating-point and complex numbers, as dense tensors of a type that can be looked at."""
    import torch

    for leaf in arrays_in(outputs):
        if isinstance(leaf, np.ndarray):
            if leaf.dtype.kind in "fc":
                yield as_tensor(leaf)
            continue
        values = leaf.detach()
        if values.is_quantized:
            continue  # holds integers
        if values.is_nested:
            values = values.values()
        if values.layout != torch.strided:
            values = values.to_dense()
        if values.is_floating_point() and values.itemsize < 2:
            values = values.float()  # of float8 there is no isfinite
        if values.is_complex() or values.is_floating_point():
            yield values.cpu()
    yield from _plain_numbers(outputs)


def _plain_numbers(outputs: Any) -> Iterator[Any]:
    """Numbers that stand in lists and dicts by themselves."""
    import torch

    if isinstance(outputs, float | np.floating):
        yield torch.tensor(float(outputs), dtype=torch.float64)
        return
    parts = outputs.values() if isinstance(outputs, Mapping) else outputs
    if isinstance(parts, list | tuple) or isinstance(outputs, Mapping):
        for part in parts:
            yield from _plain_numbers(part)


def _batch_first(leaf: Any, size: int) -> Any:
    """A tensor or array, dense, with the samples along its first dimension where they have one."""
    import torch

    if isinstance(leaf, torch.Tensor) and leaf.layout != torch.strided and not leaf.is_nested:
        leaf = leaf.to_dense()
    if leaf.ndim < 2 or leaf.shape[0] == size or size not in leaf.shape:
        return leaf
    axis = list(leaf.shape).index(size)
    return np.moveaxis(leaf, axis, 0) if isinstance(leaf, np.ndarray) else leaf.movedim(axis, 0)
