"""Half: a weight in float16, computed with in float32."""

from typing import Any

import torch
from torch import Tensor

from pytest_quant.quantize.weights.compressed import Compressed

ENGINES_WITH_KERNEL = ("x86", "fbgemm")


def half(weight: Tensor, is_linear: bool) -> Compressed:
    """A weight in float16, packed for FBGEMM's kernel where only Linear modules use it."""
    if is_linear and torch.backends.quantized.engine in ENGINES_WITH_KERNEL:
        return HalfPacked(weight)
    return Half(weight)


class Half(Compressed):
    """float16, converted when used.

    Args:
        weight: float32, within float16's range.
    """

    values: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__(weight.shape)
        self.register_buffer("values", weight.half())

    def forward(self) -> Tensor:
        """The weight, float32."""
        return self.values.float()

    def rows(self, index: Tensor) -> Tensor:
        """What an Embedding of this weight gives."""
        return torch.embedding(self.values, index).float()


class HalfPacked(Compressed):
    """The same for Linear modules, in the order in which FBGEMM's kernel reads it.

    A state dict has the plain float16 values, which any CPU can pack.

    Args:
        weight: float32 [out_features, in_features], within float16's range.
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__(weight.shape)
        self.packed = torch.ops.quantized.linear_prepack_fp16(weight.contiguous(), None)

    def forward(self) -> Tensor:
        """The weight, float32."""
        weight: Tensor = torch.ops.quantized.linear_unpack_fp16(self.packed)[0]
        return weight

    def linear(self, inputs: Tensor, bias: Tensor | None) -> Tensor:
        """What a Linear of this weight gives for inputs of shape [..., in_features]."""
        rows = inputs.reshape(-1, inputs.shape[-1])
        outputs: Tensor = torch.ops.quantized.linear_dynamic_fp16(rows, self.packed)
        if bias is not None:
            outputs += bias
        return outputs.view(*inputs.shape[:-1], self.shape[0])

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        destination[f"{prefix}values"] = self().half()

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, metadata: Any, strict: bool, missing: Any, *others: Any
    ) -> None:
        values = state_dict.get(f"{prefix}values")
        if values is None:
            missing.append(f"{prefix}values")
        else:
            self.packed = torch.ops.quantized.linear_prepack_fp16(values.float(), None)
