"""Int4: a weight of 4-bit integers with a scale and an offset for each 32 values of a channel."""

from typing import Any

import torch
from torch import Tensor, nn

from pytest_quant.machine import torch_api
from pytest_quant.machine.cpu import isa
from pytest_quant.quantize.weights import bits as packing
from pytest_quant.quantize.weights.compressed import Compressed, filled_up, matrix_of

BITS, LEVELS, MIDDLE = 4, 16, 8
GROUP = 32  # values with a scale of their own; the smallest that PyTorch's kernel has
CHANNELS_AT_ONCE = 16  # the kernel asks for a multiple
ISAS_WITH_KERNEL = ("AVX2", "AVX512")


def int4(weight: Tensor, axis: int, is_linear: bool) -> Compressed:
    """A weight in 4 bits, laid out for PyTorch's kernel where only Linear modules use it."""
    if is_linear and isa() in ISAS_WITH_KERNEL and len(weight) >= CHANNELS_AT_ONCE:
        return Int4Tiles(weight)
    return Int4(weight, axis)


class Int4(Compressed):
    """(q - 8) * scale + offset of q in [0, 15], two to a byte; decompressed when used.

    Args:
        weight: float32, finite.
        axis: of the output channels.
    """

    values: Tensor  # uint8 [channels, groups * 32 / 2]
    scales: Tensor  # bfloat16 [groups, channels, 2]: scale and offset

    def __init__(self, weight: Tensor, axis: int = 0) -> None:
        super().__init__(weight.shape, axis)
        matrix = matrix_of(weight, axis)
        self.width = matrix.shape[1]
        whole, scales = quantized(matrix)
        packed = packing.pack(whole.flatten(), BITS)
        self.register_buffer("values", packed.view(len(whole), -1))
        self.register_buffer("scales", scales)

    def forward(self) -> Tensor:
        """The weight, float32."""
        return self.restored(self._decompressed(self.values, self.scales.transpose(0, 1)))

    def rows(self, index: Tensor) -> Tensor:
        """What an Embedding of this weight gives."""
        one = index.flatten()
        rows = self._decompressed(self.values[one], self.scales.transpose(0, 1)[one])
        return rows.view(*index.shape, self.width)

    def _decompressed(self, packed: Tensor, scales: Tensor) -> Tensor:
        levels = torch.arange(LEVELS, dtype=torch.float32) - MIDDLE
        values = packing.lookup(packed.flatten(), BITS, levels)
        scale, offset = scales.float().unsqueeze(-1).unbind(-2)  # each [rows, groups, 1]
        grouped = torch.addcmul(offset, values.view(*scale.shape[:2], GROUP), scale)
        return grouped.flatten(1)[:, : self.width]


class Int4Tiles(Compressed):
    """The same for Linear modules, in the order in which this CPU's kernel reads it.

    Inputs are rounded to bfloat16 and added up in float32. Another instruction set has another order,
    so a state dict is refused there.

    Args:
        weight: float32 [out_features, in_features], finite.
    """

    tiles: Tensor
    scales: Tensor  # bfloat16 [groups, channels, 2]

    def __init__(self, weight: Tensor) -> None:
        super().__init__(weight.shape)
        filled = nn.functional.pad(weight, (0, 0, 0, -len(weight) % CHANNELS_AT_ONCE))
        whole, scales = quantized(filled)
        self.register_buffer("tiles", torch_api.int4_kernel()[0](whole.int(), 1))
        self.register_buffer("scales", scales)

    def forward(self) -> Tensor:
        """The weight, float32: what the kernel makes of the unit vectors."""
        units = torch.eye(self.shape[1])
        return self.linear(units, None).t()

    def linear(self, inputs: Tensor, bias: Tensor | None) -> Tensor:
        """What a Linear of this weight gives for inputs of shape [..., in_features]."""
        channels = self.shape[0]
        low = inputs.reshape(-1, inputs.shape[-1]).bfloat16()
        low = filled_up(low, GROUP).contiguous()
        _, kernel = torch_api.int4_kernel()
        outputs: Tensor = kernel(low, self.tiles, GROUP, self.scales)[:, :channels].float()
        if bias is not None:
            outputs += bias
        return outputs.view(*inputs.shape[:-1], channels)

    def get_extra_state(self) -> str:
        """The instruction set, beside the tensors in the state dict."""
        return isa()

    def set_extra_state(self, state: Any) -> None:
        """Refuse the tensors of another instruction set."""
        if state != isa():
            raise ValueError(
                f"int4 weights laid out for {state} do not fit this CPU's {isa()}; quantize the "
                "FP32 model on this machine again"
            )


def quantized(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """q in [0, 15] of a weight, and the scales and offsets for which it was rounded.

    Args:
        matrix: [channels, values], whose rows are filled up to whole groups.

    Returns:
        uint8 [channels, groups * 32], and bfloat16 [groups, channels, 2].
    """
    if matrix.shape[1] % GROUP:  # with the row's last value, which widens no group's range
        missing = -matrix.shape[1] % GROUP
        matrix = torch.cat([matrix, matrix[:, -1:].expand(-1, missing)], dim=1)
    grouped = matrix.reshape(len(matrix), -1, GROUP)
    low, high = grouped.amin(-1), grouped.amax(-1)
    scale = ((high - low) / (LEVELS - 1)).bfloat16()
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    offset = (low + MIDDLE * scale.float()).bfloat16()
    whole = (grouped - offset.float()[..., None]) / scale.float()[..., None] + MIDDLE
    whole = whole.round().clamp(0, LEVELS - 1).to(torch.uint8)
    return whole.flatten(1), torch.stack([scale, offset], -1).transpose(0, 1).contiguous()
