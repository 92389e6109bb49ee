"""Codebook: a weight whose values are the nearest of a few centroids, found by k-means."""

import torch
from torch import Tensor

from pytest_quant.quantize.weights import bits as packing
from pytest_quant.quantize.weights.compressed import Compressed
from pytest_quant.quantize.weights.kmeans import kmeans, nearest


class Codebook(Compressed):
    """Packed indices of 2**bits centroids, which are the tensor's own.

    Weight sharing by k-means as in Han, Mao and Dally, "Deep Compression" (ICLR 2016), without
    their pruning, fine-tuning and entropy coding.

    Args:
        weight: float32, finite.
        bits: of an index, 1 to 8.
    """

    indices: Tensor
    centroids: Tensor

    def __init__(self, weight: Tensor, bits: int) -> None:
        super().__init__(weight.shape)
        self.bits = bits
        values = weight.flatten().numpy()
        centroids = kmeans(values, 2**bits)
        self.register_buffer("centroids", torch.from_numpy(centroids).float())
        indices = torch.from_numpy(nearest(values, centroids))
        self.register_buffer("indices", packing.pack(indices, bits))

    def forward(self) -> Tensor:
        """The weight, float32."""
        values = packing.lookup(self.indices, self.bits, self.centroids)
        return values[: self.packed_parameters].view(self.shape)

    def rows(self, index: Tensor) -> Tensor:
        """What an Embedding of this weight gives."""
        count, width = self.shape
        if width % packing.TOGETHER:  # rows do not begin with a byte
            return super().rows(index)
        packed = torch.embedding(self.indices.view(count, -1), index)
        values = packing.lookup(packed.flatten(), self.bits, self.centroids)
        return values.view(*index.shape, width)

    def extra_repr(self) -> str:
        """For `print(model)`."""
        return f"{tuple(self.shape)}, bits={self.bits}"
