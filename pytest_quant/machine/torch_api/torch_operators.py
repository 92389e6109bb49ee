"""Torch operators: those that PyTorch and its packages bring, which their names tell."""

from typing import Any

# Of operators that come with an installed package; of the user's own a name tells nothing.
KNOWN = (
    "aten", "prim", "prims", "quantized", "_quantized", "quantized_decomposed", "mkldnn", "onednn",
    "mkldnn_prepacked", "torchvision", "torchaudio", "torchao",
)  # fmt: skip

# Modules that compile or spread, and hold half of all functions; nobody patches them for a test.
COMPILING = ("torch._inductor", "torch._dynamo", "torch.distributed", "torch.onnx", "torch.testing")


def is_operator(value: Any) -> bool:
    """Whether it is an operator, or all its overloads, of a namespace that comes with a package."""
    import torch

    kinds = (torch._ops.OpOverload, torch._ops.OpOverloadPacket)
    return isinstance(value, kinds) and str(value).partition(".")[0] in KNOWN
