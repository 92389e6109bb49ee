"""Inaccuracy: why a gate on accuracy does not hold, and what would mend it.

A cause is known before a remedy is named: first what else than rounding can be at fault (`premises`), then
rounding, where it is lost. What too few samples leave open is no fault at all.
"""

from typing import Any

from pytest_quant.errors import brief
from pytest_quant.explain.effort import Effort
from pytest_quant.explain.lost.explanation import Explanation
from pytest_quant.explain.lost.locate import explain
from pytest_quant.explain.lost.sentences import is_between
from pytest_quant.explain.of_files import inexact_file
from pytest_quant.explain.premises import premise, shifted
from pytest_quant.explain.remedies.first_try import first_try
from pytest_quant.explain.remedies.mending import mend
from pytest_quant.explain.remedies.to_paste import pasted
from pytest_quant.judge.stored import stored_in
from pytest_quant.judge.verdict import Outcome, Verdict
from pytest_quant.runtimes.artefact import Artefact
from pytest_quant.variant.variant import Variant

TABLE = 4  # layers that a failure message lists
OBSERVING = 2.0  # times the calibration: what looking into a model takes before the first layer
CLEARLY_MORE = 1.2  # times the samples; an estimate of fewer is none
OUT_OF_REACH = 10.0  # dB; a tenth of the noise is left only where nearly all layers stay FP32
MENDED = {"max_accuracy_drop": "max_drop", "min_sqnr": "min_sqnr", "max_flips": "max_flips"}
MOST = 0.5  # of a loss since a baseline, from which on FP32's own is the cause


def inaccurate(verdict: Verdict, variant: Variant, effort: Effort) -> str:
    """Cause and remedy of a FAIL or INCONCLUSIVE."""
    if verdict.outcome is not Outcome.FAIL:
        return "\n".join(_undecided(verdict, variant))
    found = premise(verdict, variant, effort)
    if found is not None:
        return "\n".join([*found.sentences, *pasted(found.recipe, verdict, variant)])
    lines = _where(variant, effort)
    explanation = variant.measured("explanation")
    if (beyond := _out_of_reach(verdict, explanation)) is not None:
        return "\n".join([*lines, beyond])
    tried = pasted(first_try(variant, explanation), verdict, variant)
    if explanation is not None and is_between(explanation):
        return "\n".join(lines)
    mendable = variant.recipe is not None and variant.facts.chooses_layers
    if not (verdict.gate in MENDED and mendable):
        return "\n".join([*lines, _usual(variant), *tried])
    if not effort.mend_seconds:
        hint = "--quant-mend looks for a recipe that holds the limit."
        return "\n".join([*lines, _usual(variant), hint, *tried])
    return "\n".join([*lines, *_mended(verdict, variant, effort)])


def _out_of_reach(verdict: Verdict, explanation: Explanation | None) -> str | None:
    """Of an SQNR that 8-bit weights alone do not come near, whatever is done about the rest."""
    if verdict.gate != "min_sqnr" or explanation is None or verdict.observed is None:
        return None
    weights, whole = explanation.sqnr["weights"], explanation.sqnr["whole"]
    if weights is None or whole is None:
        return None
    # those are of what decides, on the samples that were explained; the gate is on all of the outputs
    weights = verdict.observed + max(0.0, weights - whole)
    if verdict.limit < weights + OUT_OF_REACH:
        return None
    return (
        f"With activations in float, the rounding of weights alone would leave {weights:.0f} dB: int8 does "
        f"not reach {verdict.limit:g} dB. State a limit that it can hold, below {weights:.0f} dB."
    )


def worse_than_saved(verdict: Verdict, variant: Variant, effort: Effort) -> str:
    """Of a FAIL against a baseline."""
    name = verdict.evidence["baseline"]
    save = f"save the baseline again by --quant-save={name}, and commit it"
    drop, of_fp32 = verdict.observed or 0.0, verdict.evidence.get("fp32_drop", 0.0)
    if of_fp32 > 0 and of_fp32 >= MOST * drop:
        return (
            f"FP32 itself got worse since {name}, by as much as makes most of it: no recipe of "
            f"{variant.name} mends that. Look at the checkpoint, the code and the data of FP32; or, if "
            f"it is meant, {save}."
        )
    changed = stored_in(variant, name).changes()
    what = f"Changed since {name}: {', '.join(changed)}." if changed else (
        f"Neither recipe nor environment changed since {name}: it is the model or its data."
    )  # fmt: skip
    data = shifted(variant) if verdict.metric is not None else None
    lines = [*(data.sentences[:1] if data else ()), f"{what} Mend it; or, if it is meant, {save}."]
    return "\n".join(lines)


def _undecided(verdict: Verdict, variant: Variant) -> list[str]:
    """What would decide: samples, of which too few leave open what a better variant would not close."""
    data = shifted(variant)
    if verdict.gate == "max_slice_drop":  # which says itself what would decide
        return [*(data.sentences if data else ())]
    need, seen = verdict.evidence.get("samples_needed"), verdict.evidence.get("samples")
    if verdict.evidence.get("scope") != "population" or seen is None:
        return [*(data.sentences if data else ()), _usual(variant)]
    inputs = verdict.evidence.get("inputs", seen)
    alike = f" ({inputs:,} of them distinct)" if inputs < seen else ""
    more = "take several times as many"
    if need is not None and need >= CLEARLY_MORE * seen:
        more = f"about {need:,} would decide"
    return [
        *(data.sentences[:1] if data else ()),
        f"There are too few samples: {seen:,}{alike} do not prove whether the limit holds for all "
        f"inputs; {more}, drawn at random like these.",
        "There is no sign of a fault in the variant, and a better one would be as hard to prove on so few. "
        "To judge this eval set alone, leave out scope='population'.",
    ]


def _mended(verdict: Verdict, variant: Variant, effort: Effort) -> list[str]:
    """The remedy that a search finds; tests that state the same limit share one."""
    limit: dict[str, Any] = {MENDED[verdict.gate]: verdict.limit}
    if verdict.gate == "max_accuracy_drop":
        limit |= {"relative": bool(verdict.evidence.get("relative")), "metric": verdict.metric}
        if verdict.evidence.get("scope") == "population":
            limit |= {name: verdict.evidence[name] for name in ("scope", "alpha")}
    asked = f"remedy {limit}"
    try:
        remedy = variant.measured(asked) or mend(variant, seconds=effort.mend_seconds, **limit)
        for what in (asked, "remedy"):
            variant.keep(what, remedy)
    except Exception as error:
        return [f"The search for a remedy failed: {brief(error)}"]
    return ["", str(remedy)]


def _where(variant: Variant, effort: Effort) -> list[str]:
    """Where it is lost, if there is the time to see it."""
    if isinstance(variant.model, Artefact) and not variant.facts.is_known:
        return [inexact_file(variant, variant.model)]
    known = variant.measured("explanation")
    needed = OBSERVING * variant.seconds.get("calibrate", 0.0)
    if known is None and effort.explain_seconds < max(needed, 1e-9):
        hint = f" (about {2 * needed:.0f} s)" if needed else ""
        return [f"--quant-explain shows which layers lose accuracy{hint}."]
    try:
        explanation = explain(variant, seconds=max(1.0, effort.explain_seconds - needed))
    except Exception as error:
        return [f"Which layers lose accuracy could not be determined: {brief(error)}"]
    return [*explanation.sentences, explanation.table(TABLE)]


def _usual(variant: Variant) -> str:
    """What helps variants of this kind in general, without what could not be built."""
    kind = variant.recipe.kind if variant.recipe else ""
    others = [
        name
        for each, name in (("static", "static"), ("qat", "QAT"))
        if not variant.has_failed(each)
    ]
    if kind == "dynamic":
        more = f", or try {' or '.join(others)}" if others else ""
        return f"Keep the most sensitive layers in FP32 (keep_fp32){more}."
    if kind == "static":
        more = ", or try QAT" if "QAT" in others else ""
        own = "" if variant.facts.is_settled else " or with another observer"
        return f"Keep the worst layers in FP32 (keep_fp32), calibrate on more typical samples{own}{more}."
    if kind == "qat" and variant.subject.train is not None:
        return "Train longer or with another learning rate in quant_train."
    remedies = {
        "qat": "Train longer or with another learning rate (epochs and lr of its Recipe), or give your own "
        "loop (quant_train).",
        "custom": "Look at the ranges and at which layers its build quantizes.",
        "artefact": "Look at how the file was made: from which checkpoint, with which preprocessing "
        "inside, calibrated on what, with scales per tensor or per channel, and of which layers.",
    }
    return remedies.get(kind, "")
