"""Kernels: which there are, which ran, and what sees them run."""

from typing import Any

from pytest_quant.machine.torch_api.torch_modules import has, module

KERNEL_COUNTERS = ("qconv_weight_prepack_matcher_count", "qlinear_weight_prepack_matcher_count")


def kernels_found() -> int | None:
    """How many int8 convolutions and Linear layers inductor has made in this process; None when this
    PyTorch does not count them under the names that we know."""
    if has("torch._dynamo.utils"):
        return None
    counters = getattr(module("torch._dynamo.utils"), "counters", None)
    if counters is None:
        return None
    return int(sum(counters["inductor"][name] for name in KERNEL_COUNTERS))


def operator_mode() -> Any:
    """The class of contexts that see each operator with its tensors, below functions and modules."""
    from torch.utils._python_dispatch import TorchDispatchMode

    return TorchDispatchMode


def profiler_runs() -> bool:
    """Whether a profiler of PyTorch's is running, which another one would end."""
    import torch

    autograd: Any = torch.autograd
    return bool(autograd._profiler_enabled())


def int8_matmul() -> Any:
    """Of bfloat16 rows and an int8 weight, with a scale for each row of the weight."""
    import torch

    return torch._weight_int8pack_mm


def int4_kernel() -> tuple[Any, Any]:
    """What packs 4-bit weights for this CPU, and what multiplies by them."""
    import torch

    aten = torch.ops.aten
    return aten._convert_weight_to_int4pack_for_cpu, aten._weight_int4pack_mm_for_cpu
