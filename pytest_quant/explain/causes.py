"""Causes: why a gate failed, and what would mend it, as text that fits a screen."""

from collections.abc import Callable
from typing import Protocol

from pytest_quant.errors import brief
from pytest_quant.explain.effort import NO_EFFORT, Effort
from pytest_quant.explain.inaccuracy import inaccurate, worse_than_saved
from pytest_quant.explain.of_files import large_file, slow_file
from pytest_quant.explain.remedies.to_paste import pasted
from pytest_quant.explain.size import size_cause
from pytest_quant.explain.size.little_int8 import little_int8
from pytest_quant.explain.size.size_cause import weigh
from pytest_quant.explain.speed import slowness
from pytest_quant.explain.speed.slowness import slowness_of
from pytest_quant.judge import recorder
from pytest_quant.judge.gate import Gate
from pytest_quant.judge.speed_cell import is_of_cell
from pytest_quant.judge.verdict import Outcome, Verdict
from pytest_quant.runtimes.artefact import Artefact
from pytest_quant.variant.measurements import MB
from pytest_quant.variant.variant import Variant

FAR = 4.0  # times what was measured: as much as int8 has fewer bytes
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
            return worse_than_saved
        return _slow if verdict.quantity == "speed-up" else None
    return TOPICS.get(verdict.gate)


def _of_own(gate: Gate, verdict: Verdict, variant: Variant) -> str | None:
    if gate.cause is None:
        return None
    try:
        return str(gate.cause(variant, verdict))
    except Exception as error:  # a gate that failed stays failed, whatever its cause does
        return f"The cause could not be determined: {brief(error)}"


def _large(verdict: Verdict, variant: Variant, effort: Effort) -> str:
    if isinstance(variant.model, Artefact):
        return large_file(variant.model)
    told = _told(lambda: variant.once("tensors", lambda: weigh(variant)))
    proposed = variant.measured(size_cause.PROPOSED)
    if proposed is None:
        return told
    most = verdict.limit * (MB if verdict.gate == "max_size_mb" else variant.fp32.size.tensor_bytes)
    fitting = size_cause.within(variant, proposed, most)
    if fitting is None:
        return f"{told}\n{size_cause.OUT_OF_REACH}"
    return "\n".join([told, *pasted(fitting, verdict, variant)])


def _slow(verdict: Verdict, variant: Variant, effort: Effort) -> str | None:
    if "differs" in verdict.evidence:
        return None
    if verdict.outcome is Outcome.INCONCLUSIVE:
        return (
            "The limit is too close to be decided within this machine's noise. Set it 5 % or more below "
            "the usual speed-up, give the gate more time (--quant-timing-seconds), or time on a "
            "quieter machine."
        )
    if isinstance(variant.model, Artefact):
        return slow_file(variant.model)
    told = _told(lambda: variant.once("slowness", lambda: slowness_of(variant)))
    if is_of_cell(verdict.quantity):
        return f"With the run's own threads and batch: {told}"
    if verdict.observed is not None and 1 <= verdict.observed < verdict.limit / FAR:
        far = (
            f"The limit is {verdict.limit / verdict.observed:.1f} times what was measured, which no change "
            "of the recipe is likely to give: take one at least 5 % below what you usually see."
        )
        return "\n".join([told, far])
    return "\n".join([told, *pasted(variant.measured(slowness.PROPOSED), verdict, variant)])


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
        return f"The cause could not be determined: {brief(error)}"
    return "\n".join([*found.sentences, found.table()])


# What tells the cause of each gate's breach.
TOPICS: dict[str, Topic] = {
    "max_accuracy_drop": inaccurate,
    "min_sqnr": inaccurate,
    "max_slice_drop": inaccurate,
    "max_flips": inaccurate,
    "min_speedup": _slow,
    "max_size_ratio": _large,
    "max_size_mb": _large,
    "min_int8_share": lambda verdict, variant, effort: little_int8(verdict, variant),
}
