"""Engines: the quantized engines that this PyTorch was built with, and what they do on this CPU."""

from pytest_quant.errors import QuantStageError
from pytest_quant.machine.cpu import has_vnni, is_arm

# Engines whose int8 kernels add in 16 bits where the CPU has no VNNI: 8-bit activations overflow.
SATURATING = ("onednn",)


def engine_for(asked: str | None) -> str:
    """The engine asked for, or PyTorch's own when None or ``auto``.

    Raises:
        QuantStageError: when this PyTorch was built without it; names those it has.
    """
    import torch

    supported = supported_engines()
    engine = asked if asked and asked != "auto" else torch.backends.quantized.engine
    if engine not in supported:
        raise QuantStageError(
            "prepare", f"engine {engine!r} is not in this PyTorch; it has {', '.join(supported)}"
        )
    return engine


def supported_engines() -> list[str]:
    """The quantized engines that this PyTorch was built with."""
    import torch

    return [name for name in torch.backends.quantized.supported_engines if name != "none"]


def must_reduce_range(engine: str) -> bool:
    """Whether activations must keep to 7 bits here, lest sums of int8 products saturate.

    ``x86`` and ``fbgemm`` always do in PyTorch; ``onednn`` does not, and needs it on x86 without VNNI.
    """
    return engine in SATURATING and not (is_arm() or has_vnni())
