"""SQNR: how far a quantized model's outputs are from FP32's, without labels."""

import math
from typing import Any

from pytest_quant.subject.output_numbers import floats_in


def sqnr(reference: Any, outputs: Any) -> float:
    """The signal-to-quantization-noise ratio 20 log10(||x|| / ||x - y||) of two nests of tensors.

    Args:
        reference: FP32's outputs x, of any shape, tensors or NumPy arrays; integers are left out.
        outputs: the variant's outputs y, of the same form.

    Returns:
        Decibels; one bit is worth about 6. Infinity for equal outputs, minus infinity for outputs
        that are not finite where FP32's are zero or finite.
    """
    signal = noise = 0.0
    for x, y in zip(floats_in(reference), floats_in(outputs), strict=True):
        signal += float(x.double().square().sum())
        noise += float((x.double() - y.double()).square().sum())
    if noise == 0:
        return math.inf
    if signal == 0 or not math.isfinite(noise):
        return -math.inf
    return 10 * math.log10(signal / noise)
