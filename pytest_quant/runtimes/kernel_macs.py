"""Kernel macs: multiply-adds of one kernel, from the shapes of what it takes and gives."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_quant.runtimes.runtime import Kernel


@dataclass(frozen=True, slots=True)
class Operand:
    """What goes into a kernel or comes out of it.

    Args:
        shape: its sizes.
        bits: of one value.
    """

    shape: tuple[int, ...]
    bits: int

    @property
    def count(self) -> int:
        """Its values."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Of its values."""
        return self.count * self.bits // 8


def convolution(
    name: str,
    op: str,
    inputs: Operand,
    weights: Operand,
    outputs: Operand,
    *,
    is_transposed: bool = False,
    outer: int = 1,
) -> Kernel:
    """Of a convolution.

    Args:
        inputs, outputs: (samples, channels, ...) in whatever order.
        weights: (out channels, in channels of a group, ...); of a transposed one (in channels, ...).
        outer: how many of the first sizes of the weights make up these channels.
    """
    channels = math.prod(weights.shape[:outer])
    positions = inputs if is_transposed else outputs
    macs = positions.count * weights.count // max(1, channels)
    return Kernel(name, op, macs, weights.count, weights.bits)


def product(
    name: str, op: str, left: Operand, right: Operand, outputs: Operand, *, is_constant: bool
) -> Kernel:
    """Of a product of matrices: of an activation with weights, or of two activations.

    Args:
        left: (..., rows, inner).
        right: two sizes of weights in either order, or (..., inner, columns).
        is_constant: whether `right` is weights.
    """
    macs = outputs.count * left.shape[-1] if left.shape else 0
    if not is_constant:
        return Kernel(name, op, macs, 0, max(left.bits, right.bits))
    return Kernel(name, op, macs, right.count, right.bits)


def recurrent(name: str, op: str, steps: int, weights: Sequence[Operand]) -> Kernel:
    """Of a recurrent layer, which multiplies all its weights at each step of each sample."""
    count = sum(each.count for each in weights)
    return Kernel(name, op, steps * count, count, max((each.bits for each in weights), default=32))
