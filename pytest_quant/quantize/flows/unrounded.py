"""Unrounded: what a prepared model computes before anything is rounded, beside FP32."""

from collections.abc import Callable
from typing import Any

import torch

from pytest_quant.machine import torch_api
from pytest_quant.subject.output_numbers import numbers_in

CLOSE = 1e-2  # of the largest output; folding BatchNorm changes about a millionth of it


def unrounded(made: Any, run: Callable[[Any], Any]) -> tuple[list[Any], bool]:
    """Output tensors of a prepared model that rounds nothing, and whether it drew random numbers.

    Args:
        made: in eval mode and of our own, with observers or fake-quantize modules; its rounding is
            switched off. These pass copies, as kernels do, which tells where a tensor that is changed
            in place got lost.
        run: calls it.
    """
    torch_api.pass_copies(made)
    state = torch.get_rng_state()
    with torch.no_grad():
        outputs = list(numbers_in(run(made)))
    return outputs, not torch.equal(state, torch.get_rng_state())


def are_alike(expected: list[Any], outputs: list[Any]) -> bool:
    """Whether tensors are FP32's but for what folding BatchNorm changes."""
    return len(outputs) == len(expected) and all(map(_is_close, expected, outputs))


def _is_close(expected: Any, output: Any) -> bool:
    if (
        not (expected.is_floating_point() or expected.is_complex())
        or not torch.isfinite(expected).all()
    ):
        return True
    if expected.shape != output.shape:
        return False
    if not expected.numel():
        return True
    return float((output - expected).abs().max()) <= CLOSE * float(expected.abs().max()) + 1e-6
