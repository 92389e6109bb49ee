"""Causes: why a gate failed, and what would mend it."""

from pytest_quant.judge.verdict import Outcome, Verdict
from pytest_quant.variant import Variant

FEW_MACS = 0.5  # with less than half of the work in int8 there is not much speed to gain


def cause(verdict: Verdict, variant: Variant) -> str | None:
    """A sentence with cause and remedy for a FAIL or INCONCLUSIVE; None for a PASS."""
    if verdict.outcome is Outcome.PASS or verdict.evidence.get("reason") == "refused":
        return None
    if verdict.gate == "no_regression" and verdict.outcome is Outcome.FAIL:
        name = verdict.evidence["baseline"]
        return (
            f"--quant-compare={name} names what changed since: recipe, layers, environment. Mend it; or, "
            f"if it is meant, save the baseline again by --quant-save={name}, and commit it."
        )
    if verdict.gate == "min_speedup" or verdict.quantity == "speed-up":
        return _slow(verdict, variant) if "differs" not in verdict.evidence else None
    if verdict.gate in ("max_size_ratio", "max_size_mb"):
        return _large(variant)
    if verdict.gate in ("max_accuracy_drop", "max_flips"):
        return _inaccurate(variant)
    if verdict.gate == "min_int8_share" and variant.recipe and variant.recipe.kind == "dynamic":
        return (
            "Dynamic quantization covers Linear, recurrent and embedding layers only; static "
            "quantization and QAT also take convolutions."
        )
    return None


def _slow(verdict: Verdict, variant: Variant) -> str:
    if verdict.outcome is Outcome.INCONCLUSIVE:
        return (
            "The limit lies within what this machine's noise leaves open. Set it 5 % or more below "
            "the usual speed-up, give the gate more time (quant_timing_seconds), or time on a "
            "quieter machine."
        )
    share = variant.int8_share
    if share.macs is not None and share.macs < FEW_MACS:
        kind = variant.recipe.kind if variant.recipe else ""
        remedy = (
            "Dynamic quantization covers Linear, recurrent and embedding layers only: try static "
            "or QAT."
            if kind == "dynamic"
            else f"Stayed FP32: {', '.join(share.stayed_fp32[:5])}; check keep_fp32."
        )
        return f"Only {100 * share.macs:.2f} % of the multiply-adds became int8. {remedy}"
    return (
        "Most of the work is int8, so look at the engine (Recipe(engine=...)), at the batch size of "
        "one call (quant_latency_inputs), whose small batches gain little, and at threads."
    )


def _large(variant: Variant) -> str:
    share = variant.int8_share
    stayed = ", ".join(share.stayed_fp32[:5]) or "none"
    shown = "unknown" if share.parameters is None else f"{100 * share.parameters:.2f} %"
    return (
        f"int8 share of the parameters: {shown}; modules that stayed FP32: {stayed}. Quantize those, "
        "or raise the limit."
    )


def _inaccurate(variant: Variant) -> str:
    kind = variant.recipe.kind if variant.recipe else ""
    remedies = {
        "dynamic": "Keep the most sensitive layers FP32 (keep_fp32), or try static or QAT.",
        "static": "Try other observers (Recipe('static', observer='minmax')), more or more typical "
        "calibration samples, the first and last layer in FP32 (keep_fp32), or QAT.",
        "qat": "Train longer or with another learning rate (Recipe('qat', epochs=..., lr=...)), or "
        "give your own loop (quant_train).",
        "custom": "Look at the ranges and at which layers its build quantizes.",
    }
    return remedies.get(kind, "")
