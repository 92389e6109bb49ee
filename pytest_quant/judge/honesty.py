"""Honesty: a variant that was not quantized, or whose numbers are broken, passes no gate."""

import math

from pytest_quant.judge.verdict import Outcome, Verdict
from pytest_quant.measure.nearness import nearness
from pytest_quant.measure.other_outputs import other_outputs
from pytest_quant.runtimes.artefact import Artefact
from pytest_quant.subject.metrics import Metric
from pytest_quant.subject.score_range import out_of_range
from pytest_quant.variant.variant import Variant

# dB of the outputs against FP32's: int8 lies between 6 and 50, FP32 in another runtime or memory format
# above 100.
NO_INT8 = 90.0


def why_refused(variant: Variant) -> str | None:
    """Why this variant must not pass any gate, or None: it gives something else than its model, or was not
    quantized.

    Raises:
        QuantStageError: it is a file that is another one by now.
    """
    if isinstance(variant.model, Artefact):
        variant.model.refuse_changed()
    other = other_outputs(variant)
    if other is None:
        return not_quantized(variant)
    return (
        f"{variant.name} gives {other}. Classes may be the same; what reads the outputs as the model's is "
        "told something else. Export what quant_model is, or let quant_model give what the file gives."
    )


def not_quantized(variant: Variant) -> str | None:
    """Why this variant is none that was quantized, or None.

    None of its parameters is in fewer bits than FP32's; or, where that is not known, its outputs are
    FP32's but for the last bits. FP32 itself is exempt, and a custom variant that is not meant to be
    quantized.
    """
    if variant.is_fp32 or variant.recipe is None or not variant.recipe.quantized:
        return None
    share = variant.int8_share.parameters
    if share:
        return None
    if share is None:
        decibels = nearness(variant)
        if math.isnan(decibels) or decibels < NO_INT8:
            return None
        like = f"to {decibels:.0f} dB" if math.isfinite(decibels) else "bit for bit"
        return (
            f"{variant.name} was not quantized, as far as can be seen: it gives FP32's outputs {like}, "
            f"and int8 lies below {NO_INT8:.0f} dB. {_remedy(variant)}"
        )
    what = "none of its parameters is stored in fewer bits than FP32's"
    if isinstance(variant.model, Artefact):
        kernels = [each for each in variant.model.kernels or () if each.weights]
        what = (
            f"of the {len(kernels)} operations with weights that {variant.model.runtime} runs for it on "
            "this CPU none takes them in fewer bits than FP32's, whatever the file stores"
        )
    return f"{variant.name} was not quantized: {what}. {_remedy(variant)}"


def _remedy(variant: Variant) -> str:
    if variant.facts.is_known:
        return "See which modules stayed FP32, and check keep_fp32."
    if isinstance(variant.model, Artefact):
        return (
            "Quantize it in a form that this runtime has kernels for (activations of 8 bits; ONNX Runtime: "
            "uint8); a file that is not meant to be quantized says so by "
            "Recipe('artefact', path=..., quantized=False)."
        )
    return (
        "Check what its build returns; a model that is not meant to be quantized (pruned, distilled) says "
        "so by Recipe('custom', build=..., quantized=False)."
    )


def broken_outputs(variant: Variant) -> str | None:
    """Why this variant's scores mean nothing: outputs that are infinite or NaN otherwise than
    FP32's are; or None."""
    own, fp32 = variant.evaluation, variant.fp32.evaluation
    broken = int((own.irregular != fp32.irregular).sum())
    return broken_sentence(variant, broken, len(own)) if broken else None


def impossible_score(variant: Variant, metric: Metric) -> str | None:
    """Why this variant is broken: a score that a metric in fractions cannot have; or None."""
    value = out_of_range(metric, variant.evaluation.known(metric.name))
    if value is None:
        return None
    return f"{variant.name} has {value:.4g} of {metric.name}, which on FP32 lies in [0, 1]."


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
