"""CPU: its name, the instruction sets that it has, and the one that PyTorch uses."""

import os
import platform
from functools import cache
from pathlib import Path

VNNI_FLAGS = ("avx512_vnni", "avx_vnni")
# Which of them oneDNN still uses where its dispatcher is capped to an older instruction set; any other
# cap leaves both (oneDNN's developer guide, "CPU Dispatcher Control").
VNNI_UNDER_CAP: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("SSE41", "AVX", "AVX2", "AVX512_CORE"), ()),
    **dict.fromkeys(("AVX2_VNNI", "AVX2_VNNI_2"), ("avx_vnni",)),
    **dict.fromkeys(("AVX512_CORE_VNNI", "AVX512_CORE_BF16"), ("avx512_vnni",)),
}
BFLOAT16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")  # the last one as Arm names it


@cache
def cpu_flags() -> frozenset[str]:
    """The CPU's feature flags as Linux names them; empty elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    flags = (line for line in text.splitlines() if line.startswith(("flags", "Features")))
    return frozenset(next(flags, ":").split(":", 1)[1].split())


def is_arm() -> bool:
    """Whether this is a 64-bit Arm, whose int8 kernels add in 32 bits in any case."""
    return platform.machine().lower() in ("aarch64", "arm64")


def has_vnni() -> bool:
    """Whether int8 products are added in 32 bits (VNNI), so that 8-bit activations are safe.

    A cap on oneDNN's instruction set (`ONEDNN_MAX_CPU_ISA`, once `DNNL_MAX_CPU_ISA`) is honoured; set
    it before Python starts, since oneDNN reads it once.
    """
    cap = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or ""
    usable = VNNI_UNDER_CAP.get(cap.upper(), VNNI_FLAGS)
    return any(flag in cpu_flags() for flag in usable)


def has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 itself, about twice as fast as float32."""
    return any(flag in cpu_flags() for flag in BFLOAT16_FLAGS)


@cache
def cpu_name() -> str:
    """The CPU's model name, for a person."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return " ".join(line.split(":", 1)[1].split())
    except OSError:
        pass
    return platform.processor() or platform.machine()


def isa() -> str:
    """The instruction set that PyTorch dispatches to: ``AVX512``, ``AVX2``, ..."""
    import torch

    return torch.backends.cpu.get_cpu_capability()
