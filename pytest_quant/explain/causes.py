"""Causes: why a gate failed, and what would mend it, as text that fits a screen."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.explain.lost.locate import explain
from pytest_quant.explain.remedies.first_try import first_try
from pytest_quant.explain.remedies.mending import mend
from pytest_quant.explain.remedies.to_paste import more_of, to_paste
from pytest_quant.explain.size import size_cause
from pytest_quant.explain.size.size_cause import weigh
from pytest_quant.explain.speed import slowness
from pytest_quant.explain.speed.slowness import slowness_of
from pytest_quant.judge import recorder
from pytest_quant.judge.gate import Gate
from pytest_quant.judge.stored import stored_in
from pytest_quant.judge.verdict import Outcome, Verdict
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.variant import Variant

TABLE = 4  # layers that a failure message lists
OBSERVING = 2.0  # times the calibration: what looking into a model takes before the first layer


@dataclass(frozen=True, slots=True)
class Effort:
    """What may be spent on finding a cause.

    Args:
        explain_seconds: on where a failed accuracy gate loses it; 0 for nothing.
        mend_seconds: on a search for a remedy; 0 for none.
    """

    explain_seconds: float = 30.0
    mend_seconds: float = 0.0


NO_EFFORT = Effort(0.0, 0.0)
Topic = Callable[[Verdict, Variant, Effort], str | None]


def cause(verdict: Verdict, variant: Variant, effort: Effort = NO_EFFORT) -> str | None:
    """Cause and remedy of a FAIL or INCONCLUSIVE, as lines; None for a PASS. Never raises."""
    if verdict.outcome is Outcome.PASS or verdict.evidence.get("reason") == "refused":
        return None
    own = recorder.current().gates.get(verdict.gate)
    if own is not None:
        return _of_own(own, verdict, variant)
    topic = topic_of(verdict)
    return None if topic is None else topic(verdict, variant, effort)


def topic_of(verdict: Verdict) -> Topic | None:
    """What tells the cause of a verdict of ours; the same for gates whose breaches have one cause."""
    if verdict.gate == "no_regression":
        if verdict.outcome is Outcome.FAIL:
            return _worse_than_saved
        return _slow if verdict.quantity == "speed-up" else None
    return TOPICS.get(verdict.gate)


def _of_own(gate: Gate, verdict: Verdict, variant: Variant) -> str | None:
    if gate.cause is None:
        return None
    try:
        return str(gate.cause(variant, verdict))
    except Exception as error:  # a gate that failed stays failed, whatever its cause does
        return f"The cause could not be looked for: {_brief(error)}"


def _worse_than_saved(verdict: Verdict, variant: Variant, effort: Effort) -> str:
    name = verdict.evidence["baseline"]
    changed = stored_in(variant, name).changes()
    what = f"Changed since {name}: {', '.join(changed)}." if changed else (
        f"Neither recipe nor environment changed since {name}: it is the model or its data."
    )  # fmt: skip
    return (
        f"{what} Mend it; or, if it is meant, save the baseline again by --quant-save={name}, and "
        "commit it."
    )


def _large(verdict: Verdict, variant: Variant, effort: Effort) -> str:
    told = _told(lambda: variant.once("tensors", lambda: weigh(variant)))
    return "\n".join([told, *_pasted(variant.measured(size_cause.PROPOSED), verdict, variant)])


def _little_int8(verdict: Verdict, variant: Variant, effort: Effort) -> str | None:
    if not variant.facts.is_dynamic:
        return None
    return "\n".join(
        [
            "Dynamic quantization covers Linear, recurrent and embedding layers only; static "
            "quantization and QAT also take convolutions.",
            *_pasted(Recipe("static"), verdict, variant),
        ]
    )


def _slow(verdict: Verdict, variant: Variant, effort: Effort) -> str | None:
    if "differs" in verdict.evidence:
        return None
    if verdict.outcome is Outcome.INCONCLUSIVE:
        return (
            "The limit lies within what this machine's noise leaves open. Set it 5 % or more below "
            "the usual speed-up, give the gate more time (quant_timing_seconds), or time on a "
            "quieter machine."
        )
    told = _told(lambda: variant.once("slowness", lambda: slowness_of(variant)))
    return "\n".join([told, *_pasted(variant.measured(slowness.PROPOSED), verdict, variant)])


class _Finding(Protocol):
    @property
    def sentences(self) -> tuple[str, ...]:
        """For a person."""

    def table(self) -> str:
        """The figures behind them."""


def _told(find: Callable[[], _Finding]) -> str:
    try:
        found = find()
    except Exception as error:  # a gate that failed stays failed, whatever its cause does
        return f"The cause could not be looked for: {_brief(error)}"
    return "\n".join([*found.sentences, found.table()])


def _pasted(recipe: Recipe | None, verdict: Verdict, variant: Variant) -> list[str]:
    """A recipe that nobody has measured, set off as lines to paste; nothing without one."""
    if recipe is None or verdict.gate == "no_regression":
        return []
    more = more_of(verdict, variant.admitted.metrics[0].name)
    code = to_paste(
        recipe, variant, verdict.gate, verdict.limit, more=more, note="not measured yet"
    )
    return ["", code]


def _inaccurate(verdict: Verdict, variant: Variant, effort: Effort) -> str:
    if verdict.outcome is not Outcome.FAIL:
        return _usual(variant)
    lines = _where(variant, effort)
    tried = _pasted(first_try(variant, variant.measured("explanation")), verdict, variant)
    is_drop = verdict.gate == "max_accuracy_drop"
    mendable = variant.recipe is not None and variant.facts.chooses_layers
    if not (is_drop and mendable):
        return "\n".join([*lines, _usual(variant), *tried])
    if not effort.mend_seconds:
        return "\n".join(
            [
                *lines,
                _usual(variant),
                "--quant-mend looks for a recipe that holds the limit.",
                *tried,
            ]
        )
    relative = bool(verdict.evidence.get("relative"))
    # tests that state the same limit share one search
    asked = f"remedy {verdict.limit} {relative} {verdict.metric}"
    try:
        remedy = variant.measured(asked) or mend(
            variant,
            verdict.limit,
            relative=relative,
            metric=verdict.metric,
            seconds=effort.mend_seconds,
        )
        variant.keep(asked, remedy)
    except Exception as error:
        return "\n".join([*lines, f"No remedy could be looked for: {_brief(error)}"])
    return "\n".join([*lines, "", str(remedy)])


def _where(variant: Variant, effort: Effort) -> list[str]:
    """Where it is lost, if there is the time to see it."""
    known = variant.measured("explanation")
    needed = OBSERVING * variant.seconds.get("calibrate", 0.0)
    if known is None and effort.explain_seconds < max(needed, 1e-9):
        hint = f" (about {2 * needed:.0f} s)" if needed else ""
        return [f"--quant-explain says which layers lose it{hint}."]
    try:
        explanation = explain(variant, seconds=max(1.0, effort.explain_seconds - needed))
    except Exception as error:
        return [f"Which layers lose it could not be found out: {_brief(error)}"]
    return [*explanation.sentences, explanation.table(TABLE)]


def _brief(error: Exception) -> str:
    return error.sentence if isinstance(error, QuantStageError) else in_brief(error)


def _usual(variant: Variant) -> str:
    """What helps variants of this kind in general."""
    kind = variant.recipe.kind if variant.recipe else ""
    remedies = {
        "dynamic": "Keep the most sensitive layers FP32 (keep_fp32), or try static or QAT.",
        "static": "Keep the worst layers FP32 (keep_fp32), calibrate on more typical samples or with "
        "another observer, or try QAT.",
        "qat": "Train longer or with another learning rate (epochs and lr of its Recipe), or give your own "
        "loop (quant_train).",
        "custom": "Look at the ranges and at which layers its build quantizes.",
    }
    return remedies.get(kind, "")


# What tells the cause of each gate's breach.
TOPICS: dict[str, Topic] = {
    "max_accuracy_drop": _inaccurate,
    "min_sqnr": _inaccurate,
    "max_flips": _inaccurate,
    "min_speedup": _slow,
    "max_size_ratio": _large,
    "max_size_mb": _large,
    "min_int8_share": _little_int8,
}
