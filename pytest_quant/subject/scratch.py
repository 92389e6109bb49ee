"""Scratch: copies of one batch's inputs after the other, in memory that is used again.

A large copy in new memory takes longer to be mapped than to be written: of images of 224 pixels a tenth of
what an int8 model then takes to run.
"""

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from pytest_quant.subject.batches import mapped

SMALLEST = 2**17  # bytes; smaller ones come from memory that is mapped already


class _Block:
    """Memory, and who has it, weakly."""

    def __init__(self, size: int) -> None:
        import torch

        self.memory: np.ndarray[Any, Any] = torch.empty(size, dtype=torch.uint8).numpy()
        self.user: Callable[[], Any] = lambda: None


class Scratch:
    """Copies as `torch.Tensor.clone` makes them; memory that somebody still holds is not used again."""

    def __init__(self) -> None:
        self._blocks: list[_Block] = []

    def copied(self, inputs: Any) -> Any:
        """The same nest with a copy of each tensor."""
        return mapped(inputs, self._copy, objects=True)

    def _copy(self, tensor: Any) -> Any:
        import torch

        if not _is_dense(tensor) or tensor.nbytes < SMALLEST:
            return tensor.clone()
        block = self._unused(tensor.nbytes)
        part = block.memory[: tensor.nbytes]  # an array that lives as long as the copy's storage
        block.user = weakref.ref(part)
        plain = torch.from_numpy(part).view(tensor.dtype)
        return plain.as_strided(tensor.shape, tensor.stride()).copy_(tensor.detach())

    def _unused(self, size: int) -> _Block:
        """A block of at least so many bytes; where there is none, a new one instead of the smaller ones."""
        unused = [block for block in self._blocks if block.user() is None]
        for block in unused:
            if len(block.memory) >= size:
                return block
        self._blocks = [block for block in self._blocks if block not in unused]
        self._blocks.append(_Block(size))
        return self._blocks[-1]


def _is_dense(tensor: Any) -> bool:
    """Whether it is a tensor in the CPU's memory whose strides a copy of it has too."""
    import torch

    return (
        type(tensor) is torch.Tensor
        and tensor.device.type == "cpu"
        and tensor.layout is torch.strided
        and not (tensor.is_quantized or tensor.is_conj() or tensor.is_neg())
        and (
            tensor.is_contiguous()
            or (tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last))
        )
    )
