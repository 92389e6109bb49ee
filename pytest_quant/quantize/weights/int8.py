"""Int8: a weight of 8-bit integers with one scale for each output channel, or for all."""

import torch
from torch import Tensor, nn

from pytest_quant.machine import torch_api
from pytest_quant.machine.cpu import has_bfloat16
from pytest_quant.quantize.weights.compressed import Compressed, filled_up, matrix_of

LARGEST = 127
# PyTorch's kernel reads this many values of a row at a time, beyond the row's end if it must.
READ_AT_ONCE = 16
# Up to which number of rows the kernel that reads int8 is faster than a product of bfloat16 that
# converts the whole weight first: they break even between 8 and 32 (`benchmarks/precisions.py`).
FEW_ROWS = 16


class Int8(Compressed):
    """Whole numbers in [-127, 127], each times its channel's scale.

    A Linear rounds its inputs to bfloat16 and adds up in float32. Other modules decompress the weight.

    Args:
        weight: float32, finite.
        axis: of the output channels.
        per_channel: one scale for each of them, else one for all.
    """

    values: Tensor  # int8 [channels, values of a channel, filled up with 0]
    scales: Tensor  # bfloat16, which the kernel wants; the values are rounded for these very scales

    def __init__(self, weight: Tensor, axis: int = 0, per_channel: bool = True) -> None:
        super().__init__(weight.shape, axis)
        matrix = matrix_of(weight, axis)
        self.width = matrix.shape[1]
        largest = matrix.abs().amax(1 if per_channel else (0, 1)).reshape(-1)
        scales = (largest / LARGEST).bfloat16()
        scales = torch.where(scales > 0, scales, torch.ones_like(scales))
        whole = (matrix / scales.float()[:, None]).round().clamp(-LARGEST, LARGEST)
        self.register_buffer("values", filled_up(whole.to(torch.int8), READ_AT_ONCE))
        self.register_buffer("scales", scales)

    def forward(self) -> Tensor:
        """The weight, float32."""
        return self.restored(self.values[:, : self.width].float() * self.scales.float()[:, None])

    def linear(self, inputs: Tensor, bias: Tensor | None) -> Tensor:
        """What a Linear of this weight gives for inputs of shape [..., in_features]."""
        rows = inputs.reshape(-1, inputs.shape[-1])
        outputs = self._few(rows, bias) if len(rows) <= FEW_ROWS else self._many(rows, bias)
        return outputs.view(*inputs.shape[:-1], len(self.values))

    def rows(self, index: Tensor) -> Tensor:
        """What an Embedding of this weight gives."""
        scales = self.scales.expand(len(self.values))[index].float()
        return torch.embedding(self.values, index)[..., : self.width].float() * scales[..., None]

    def _few(self, rows: Tensor, bias: Tensor | None) -> Tensor:
        low = filled_up(rows.bfloat16(), READ_AT_ONCE).contiguous()
        scales = self.scales.expand(len(self.values)).contiguous()
        outputs: Tensor = torch_api.int8_matmul()(low, self.values, scales)
        return outputs.float() if bias is None else outputs + bias  # which is float32

    def _many(self, rows: Tensor, bias: Tensor | None) -> Tensor:
        dtype = torch.bfloat16 if has_bfloat16() else torch.float32
        whole = self.values[:, : self.width].to(dtype)
        outputs = nn.functional.linear(rows.to(dtype), whole)
        scales = self.scales.float()
        return outputs * scales if bias is None else torch.addcmul(bias, outputs, scales)
