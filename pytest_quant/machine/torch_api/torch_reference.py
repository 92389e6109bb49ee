"""Reference: what FX has observed as plain operators, which exporters know."""

from typing import Any

from pytest_quant.machine.torch_api.torch_modules import FX, module


def reference_decomposed(prepared: Any) -> Any:
    """A prepared model of FX with quantize and dequantize operators around float layers.

    It computes what the int8 model computes, but for the last bits. The prepared one is used up.
    """
    return module(FX)._convert_to_reference_decomposed_fx(prepared)
