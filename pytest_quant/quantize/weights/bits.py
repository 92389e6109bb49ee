"""Bits: indices of 1 to 8 bits packed without gaps, and values looked up by packed indices."""

from functools import cache

import torch
from torch import Tensor

TOGETHER = 8  # indices of b bits fill b bytes, whatever b is


def pack(indices: Tensor, bits: int) -> Tensor:
    """Indices packed from the lowest bit of the first byte on.

    Args:
        indices: [n], whole numbers in [0, 2**bits).
        bits: 1 to 8.

    Returns:
        uint8 [bits * ceil(n / 8)]; what is missing to a multiple of eight indices is filled with 0.
    """
    filled = torch.nn.functional.pad(indices.long(), (0, -len(indices) % TOGETHER))
    words = (filled.view(-1, TOGETHER) << _shifts(bits, TOGETHER)).sum(1)
    return words.view(torch.uint8).view(-1, 8)[:, :bits].flatten()


def unpack(packed: Tensor, bits: int) -> Tensor:
    """The indices that were packed, int32, with those that filled them up."""
    room = torch.nn.functional.pad(packed.view(-1, bits), (0, 8 - bits))
    words = room.contiguous().view(torch.int64)
    return (words >> _shifts(bits, TOGETHER)).bitwise_and_(2**bits - 1).int().flatten()


def lookup(packed: Tensor, bits: int, values: Tensor) -> Tensor:
    """The value of each packed index, and of those that filled them up.

    Args:
        packed: uint8, as `pack` gives it.
        values: [2**bits], float32.
    """
    if 8 % bits:
        return values.index_select(0, unpack(packed, bits))
    if bits == 8:
        return values.index_select(0, packed.int())
    whole_bytes = values.index_select(0, _indices_in_a_byte(bits)).view(256, -1)
    if bits == 4:  # two values as one of eight bytes, which is four times as fast
        pairs = whole_bytes.view(torch.int64).flatten().index_select(0, packed.int())
        return pairs.view(torch.float32)
    return whole_bytes.index_select(0, packed.int()).flatten()


@cache
def _shifts(bits: int, count: int) -> Tensor:
    with torch.inference_mode(False):
        return torch.arange(count) * bits


@cache
def _indices_in_a_byte(bits: int) -> Tensor:
    with torch.inference_mode(False):
        fields = torch.arange(256)[:, None] >> _shifts(bits, 8 // bits)
        return fields.bitwise_and_(2**bits - 1).int().flatten()
