"""Notes: what a reader of the report should know of a model or a variant, one sentence each."""

import math

from pytest_quant.errors import listed
from pytest_quant.explain.skill import lacks_skill
from pytest_quant.judge.uneven import uneven
from pytest_quant.machine.engines import must_reduce_range
from pytest_quant.runtimes.artefact import Artefact
from pytest_quant.store.choice import WEIGHED
from pytest_quant.variant.evaluation import has_flips
from pytest_quant.variant.variant import Variant

NOTEWORTHY_GAIN = 1.03
FEW_MACS = 0.5  # share of the multiply-adds
FEW_SAMPLES = 299  # fewer cannot show a drop of one point: ln 0.05 / ln(1 - 0.01)


def notes_on(variant: Variant) -> list[str]:
    """Notes on what has been measured so far; measures nothing itself."""
    notes = list(variant.notes)
    if variant.is_fp32:
        notes += variant.admitted.door.notes
    evaluation = variant.measured("evaluation")
    if variant.is_fp32 and evaluation is not None:
        main = variant.admitted.metrics[0]
        samples = len(evaluation)
        if (how := lacks_skill(evaluation, main)) is not None:
            notes.append(
                f"FP32 is {how}, so a small drop means nothing; check the weights, and the metric, or set "
                "min_baseline"
            )
        if samples < FEW_SAMPLES:
            one = f": one flip is {100 / samples:.2f} pt" if has_flips(main) else ""
            notes.append(f"the eval set is small ({samples} samples){one}")
    prefix = variant.measured("prefix")
    if evaluation is None and prefix is not None and prefix.seen:
        notes.append(f"evaluated on {prefix.seen:,} of {prefix.samples:,} samples, drawn at random")
    if isinstance(variant.model, Artefact):
        notes.append(f"run by {variant.model.runtime}")
    share = variant.measured("int8_share")
    if not variant.is_fp32 and share is not None and share.parameters is not None:
        shown = listed(share.stayed, 4)
        if share.stayed_fp32 and share.parameters < 0.99:
            notes.append(f"stayed FP32: {shown}")
    recipe, facts = variant.recipe, variant.facts
    if recipe is not None and not recipe.quantized:
        notes.append("not quantized, as its recipe says (quantized=False)")
    elif share is not None and share.parameters is None and not facts.is_known:
        known = variant.measured("nearness")
        at = "" if known is None else f"; its outputs are at {known:.0f} dB from FP32's"
        at = "; its outputs are FP32's to the bit" if known == math.inf else at
        what = f"what its build returned ({type(variant.model).__name__})"
        if isinstance(variant.model, Artefact):
            what = variant.model.runtime
        notes.append(
            f"not known to be quantized: {what} does not show in how many bits it computes{at}"
        )
    few = share is not None and share.macs is not None and share.macs < FEW_MACS
    is_open = variant.measured(WEIGHED) is None
    if recipe and facts.is_observed and not facts.sees_inside and few and is_open:
        notes.append(
            f"flow {recipe.flow} does not quantize inside attention or recurrent layers, so that only "
            f"{100 * share.macs:.1f} % of the multiply-adds became int8{_who_takes_more(variant)}"
        )
    if without := getattr(variant.model, "without_kernel", 0):
        notes.append(
            f"inductor found no int8 kernel for {without} use{'s' if without > 1 else ''} of int8 weights, "
            "computed in FP32"
        )
    if recipe and facts.is_observed and must_reduce_range(str(recipe.engine)):
        what = "weights" if facts.halves_weights else "activations"
        notes.append(
            f"{what} keep to 7 bits: on this CPU, which has no VNNI, sums of "
            f"{recipe.engine}'s 8-bit products would saturate"
        )
    if evaluation is not None and (note := uneven(variant)) is not None:
        notes.append(note)
    gain = variant.measured("format_gain")
    if gain is not None and gain > NOTEWORTHY_GAIN:
        notes.append(f"FP32 itself is {gain:.2f}x as fast in channels_last as given")
    return notes


def _who_takes_more(variant: Variant) -> str:
    """What takes the layers of this model that stay outside, as the end of a sentence."""
    import torch

    recipe, modules = variant.recipe, list(variant.fp32.model.modules())
    able = []
    has_attention = any(isinstance(each, torch.nn.MultiheadAttention) for each in modules)
    if recipe and has_attention and not variant.has_failed(recipe.kind, "pt2e"):
        able.append(f"Recipe({recipe.kind!r}, flow='pt2e') takes attention's projections")
    recurrent = sorted({type(m).__name__ for m in modules if isinstance(m, torch.nn.RNNBase)})
    if recurrent and not variant.has_failed("dynamic"):
        able.append(f"dynamic quantization takes {' and '.join(recurrent)}")
    return f": {', '.join(able)}" if able else ""
