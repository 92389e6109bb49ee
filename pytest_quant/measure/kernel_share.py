"""Kernel share: how much of a model another runtime computes with weights of fewer bits, on this CPU."""

from typing import Any

from pytest_quant.runtimes.trial import Tried
from pytest_quant.variant.measurements import Int8Share


def share_of_kernels(told: Tried, macs: int, fp32: Any) -> Int8Share:
    """The share of parameters and multiply-adds that kernels with narrow weights take.

    What counts is what runs: weights that a file holds in int8 and that its runtime turns into floats
    before it multiplies are not in it.

    Args:
        told: by the file's first call.
        macs: multiply-adds of FP32 for the same batch.
        fp32: FP32's module.
    """
    if told.kernels is None:
        return Int8Share(None, None, ())
    narrow = [kernel for kernel in told.kernels if kernel.is_narrow]
    parameters = sum(parameter.numel() for parameter in fp32.parameters())
    multiplied = told.calls * sum(kernel.macs for kernel in narrow)
    return Int8Share(
        min(1.0, sum(kernel.weights for kernel in narrow) / parameters) if parameters else 0.0,
        min(1.0, multiplied / macs) if macs else None,
        tuple(kernel.name for kernel in told.kernels if kernel.is_wide),
    )
