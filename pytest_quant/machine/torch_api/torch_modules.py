"""Modules: those of PyTorch and torchao that may be gone one day, and what is lost then."""

import importlib
from typing import Any

from pytest_quant.errors import QuantStageError, in_brief

AO = "torch.ao.quantization"
FX = "torch.ao.quantization.quantize_fx"
FX_CONFIG = "torch.ao.quantization.fx.custom_config"
PT2E = "torchao.quantization.pt2e.quantize_pt2e"
X86_QUANTIZER = "torchao.quantization.pt2e.quantizer.x86_inductor_quantizer"
ARM_QUANTIZER = "torchao.quantization.pt2e.quantizer.arm_inductor_quantizer"
PT2E_OBSERVER = "torchao.quantization.pt2e.observer"
PT2E_FAKE_QUANTIZE = "torchao.quantization.pt2e.fake_quantize"
INDUCTOR = "torch._inductor"
PYTREE = "torch.utils._pytree"
# Module -> what is lost without it.
MODULES = {
    AO: "flows eager, fx and parts, dynamic quantization, QConfigs, observers",
    FX: "flows fx and parts",
    FX_CONFIG: "modules that FX must not trace (keep_fp32)",
    "torch.ao.nn.quantized": "int8 layers of flows eager, fx and parts, and of dynamic quantization",
    "torch.ao.quantization.observer": "observers of flows eager, fx and parts",
    PT2E: "flow pt2e",
    X86_QUANTIZER: "flow pt2e",
    ARM_QUANTIZER: "flow pt2e on Arm",
    PT2E_OBSERVER: "own observers of flow pt2e",
    PT2E_FAKE_QUANTIZE: "QAT with an own observer in flow pt2e",
    INDUCTOR: "flow pt2e, which compiles",
    "torch._dynamo.utils": "how many int8 kernels a compiled model has",
    "torch._subclasses": "flow pt2e: inputs of several lengths",
    "torch.fx.experimental.symbolic_shapes": "flow pt2e: inputs of several lengths",
    "torch.nn.utils.weight_norm": "models under weight_norm in its older form",
    "torch.nn.utils.spectral_norm": "models under spectral_norm in its older form",
    "torch.nn.utils.prune": "models under pruning",
    PYTREE: "flow pt2e: outputs that are no single tensor",
}
# What PyTorch logs though nobody asked; a logger that is gone logs nothing. The last one writes
# thousands of empty lines into what pytest shows of a failing test.
NOISY_LOGGERS = ("torch.utils._pytree", "torch.utils.cpp_extension", "torch.__trace")


def module(name: str) -> Any:
    """One of `MODULES`.

    Raises:
        QuantStageError: this PyTorch has it no more, or torchao is not installed; says what is lost.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise QuantStageError(
            "prepare", f"{name} cannot be imported ({in_brief(error)}), without which there is no "
            f"{MODULES[name]}"
        ) from error  # fmt: skip


def has(name: str) -> str | None:
    """Why one of `MODULES` cannot be imported, in brief; None when it can."""
    try:
        importlib.import_module(name)
    except ImportError as error:
        return in_brief(error)
    return None


def ao() -> Any:
    """``torch.ao.quantization``, which PyTorch has declared deprecated."""
    return module(AO)


def without_eager_mode() -> str | None:
    """That this PyTorch has no ``torch.ao.quantization``, in half a sentence; None when it has."""
    why = has(AO)
    return f"this PyTorch has no eager mode quantization any more ({why})" if why else None
