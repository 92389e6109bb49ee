"""Nearness: how far a variant's outputs are from FP32's, whatever the metric makes of them."""

import math
from typing import Any

import numpy as np

from pytest_quant.errors import QuantStageError
from pytest_quant.measure.scored import blamed
from pytest_quant.subject.output_numbers import floats_in
from pytest_quant.subject.subject import forward
from pytest_quant.variant.sqnr import sqnr
from pytest_quant.variant.variant import Variant


def nearness(variant: Variant) -> float:
    """The SQNR of the variant's outputs against FP32's on the first eval batch, in dB.

    Of several output tensors it is that of the one that keeps least, since boxes in pixels would drown
    scores. Infinite for equal outputs, minus infinite for those of another form. Of outputs without
    floating-point numbers, as of a model that ends in argmax, it is not defined: infinite where all are
    equal on all samples, else NaN.
    """

    def outputs_of(each: Variant) -> list[Any]:
        inputs = variant.admitted.first_inputs
        with each.running():
            outputs = forward(each.subject, each.model, inputs, each.name, blamed=blamed(each))
        return list(floats_in(outputs))

    def measured() -> float:
        with variant.isolated():
            variant.refuse_moved_fp32()
            expected, own = outputs_of(variant.fp32), outputs_of(variant)
        if not expected:
            is_equal = np.array_equal(variant.evaluation.outputs, variant.fp32.evaluation.outputs)
            return math.inf if is_equal else math.nan
        if [tensor.shape for tensor in own] != [tensor.shape for tensor in expected]:
            return -math.inf
        pairs = [_finite(*pair) for pair in zip(expected, own, strict=True)]
        return _of_worst(pairs)

    return variant.once("nearness", measured)


def defined_nearness(variant: Variant) -> float:
    """The same of outputs that have one.

    Raises:
        QuantStageError: they hold no floating-point numbers, and are not equal.
    """
    decibels = nearness(variant)
    if math.isnan(decibels):
        raise QuantStageError(
            "evaluate",
            "SQNR is not defined for outputs without floating-point numbers, as of a model that ends in "
            "argmax: they are equal or not. Limit the accuracy (assert_max_accuracy_drop) or the flips "
            "(assert_max_flips), or let quant_forward return the scores that it decides by.",
        )
    return decibels


def _of_worst(pairs: list[tuple[Any, Any]]) -> float:
    # Also together, since what FP32 has only zeros for counts too.
    together = sqnr([x for x, _ in pairs], [y for _, y in pairs])
    return min([together, *(sqnr([x], [y]) for x, y in pairs if x.any())])


def _finite(fp32: Any, own: Any) -> tuple[Any, Any]:
    """Two tensors with zeros where both are infinite alike, as masked scores are."""
    alike = fp32.isinf() & (fp32 == own)
    return fp32.masked_fill(alike, 0.0), own.masked_fill(alike, 0.0)
