"""SQNR limit: how much of FP32's outputs a variant keeps, whatever the metric makes of them."""

import math

from pytest_quant.judge.honesty import broken_outputs, refusal, why_refused
from pytest_quant.judge.verdict import Outcome, Verdict
from pytest_quant.measure.nearness import defined_nearness
from pytest_quant.variant.variant import Variant

GATE = "min_sqnr"


def judge_sqnr(variant: Variant, db: float) -> Verdict:
    """Whether the signal-to-quantization-noise ratio of the outputs is at least `db`.

    It is 20 log10(||x|| / ||x - y||) of FP32's outputs x and the variant's y on the first eval batch; of
    several output tensors that which keeps least. A metric may be lucky: a variant whose calibration is
    wrong can gain some of it.

    Raises:
        QuantStageError: when either cannot run, and for outputs without floating-point numbers that are not
            equal.
    """
    if reason := why_refused(variant) or broken_outputs(variant):
        return refusal(GATE, "SQNR", variant, db, reason)
    decibels = defined_nearness(variant)
    outcome = Outcome.PASS if decibels >= db else Outcome.FAIL
    return Verdict.on(
        variant,
        GATE,
        "SQNR",
        outcome,
        f"{variant.name} keeps {decibels:.1f} dB of FP32's outputs on the first eval batch, "
        f"required {db:g} dB",
        limit=db,
        observed=decibels if math.isfinite(decibels) else None,
        evidence={},
    )
