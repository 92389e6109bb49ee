"""Honesty: a variant that was not quantized, or whose numbers are broken, passes no gate."""

import numpy as np

from pytest_quant.judge.verdict import Outcome, Verdict
from pytest_quant.variant.variant import Variant


def not_quantized(variant: Variant) -> str | None:
    """Why this variant must not pass any gate, or None.

    Zero int8 share in a dynamic, static or QAT variant; a custom one that gives FP32's bits on all
    samples (known once it was evaluated). FP32 itself is exempt.
    """
    if variant.is_fp32 or variant.recipe is None:
        return None
    if variant.facts.is_known:
        share = variant.int8_share
        if share.parameters == 0:
            return (
                f"{variant.name} was not quantized: none of its parameters is stored in fewer bits "
                "than FP32's. See which modules stayed FP32, and check keep_fp32."
            )
        return None
    if variant.int8_share.parameters:
        return None
    if np.array_equal(variant.evaluation.outputs, variant.fp32.evaluation.outputs):
        return (
            f"{variant.name} was not quantized: it gives FP32's outputs bit for bit on all "
            f"{len(variant.evaluation)} samples. Check what its build returns."
        )
    return None


def broken_outputs(variant: Variant) -> str | None:
    """Why this variant's scores mean nothing: outputs that are infinite or NaN otherwise than
    FP32's are; or None."""
    own, fp32 = variant.evaluation, variant.fp32.evaluation
    broken = int((own.irregular != fp32.irregular).sum())
    return broken_sentence(variant, broken, len(own)) if broken else None


def broken_sentence(variant: Variant, broken: int, samples: int) -> str:
    """Says that outputs are not finite."""
    return (
        f"{variant.name} gives NaN or infinite outputs on {broken} of {samples} samples where FP32 "
        "does not."
    )


def refusal(
    gate: str, quantity: str, variant: Variant, limit: float, reason: str, metric: str | None = None
) -> Verdict:
    """The FAIL of a gate that a variant may not pass, whatever was measured."""
    return Verdict.on(
        variant,
        gate,
        quantity,
        Outcome.FAIL,
        reason,
        limit=limit,
        observed=None,
        metric=metric,
        evidence={"reason": "refused"},
    )
