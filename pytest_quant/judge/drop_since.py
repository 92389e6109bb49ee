"""Drop since a baseline: the metric of now against the stored scores of then, sample by sample."""

import math
from fractions import Fraction
from typing import Any

import numpy as np

from pytest_quant.baseline.packing import Array, unpack_scores
from pytest_quant.judge.accuracy_drop import quantity_of
from pytest_quant.judge.exact_mean import exact_mean
from pytest_quant.judge.honesty import broken_outputs, impossible_score, refusal
from pytest_quant.judge.stored import GATE, Stored, known_metric, refuse_other_samples, unusable
from pytest_quant.judge.verdict import Outcome, Verdict
from pytest_quant.subject.metrics import Metric
from pytest_quant.subject.perplexity import perplexity_of, rise_of


def judge_drop_since(stored: Stored, metric: Metric, max_drop: float) -> Verdict:
    """Whether the metric is at most `max_drop` worse than the baseline's, sample by sample.

    Raises:
        QuantStageError: when the baseline was made on other samples or with another metric.
    """
    variant, quantity = stored.variant, quantity_of(metric)
    if not variant.is_fp32 and (
        reason := broken_outputs(variant) or impossible_score(variant, metric)
    ):
        return refusal(GATE, quantity, variant, max_drop, reason, metric.name)
    own, known = variant.evaluation, known_metric(stored, metric)
    refuse_other_samples(stored)
    evidence: dict[str, Any] = {"baseline": stored.baseline.name, "samples": len(own)}
    paired = ""
    packed = stored.baseline.scores_of(stored.row)
    if metric.name in own.scores and metric.name in packed:
        scores = own.scores[metric.name]
        then = unpack_scores(packed[metric.name], len(own))
        if not _fits(then, scores):
            raise unusable(stored, f"its {metric.name} is not a number on some samples")
        before, after = exact_mean(then), exact_mean(scores)
        worse, better = _counts(then, scores, metric)
        evidence |= {"worse": worse, "better": better}
        paired = f", {worse} worse and {better} better"
    else:
        assert known.value is not None  # known_metric has seen to it
        value, now = known.value, own.values[metric.name]
        if metric.unit == "perplexity":  # the logarithm of an exponential is not quite its argument
            value = now if perplexity_of(now) == value else math.log(value)
        before, after = Fraction(value), Fraction(now)
    drop = _drop(before, after, metric)
    relative = metric.unit == "perplexity"
    limit = Fraction(math.log1p(max_drop)) if relative else Fraction(str(max_drop))
    outcome = Outcome.PASS if drop <= limit else Outcome.FAIL
    allowed = f"{100 * max_drop:g} %" if relative else metric.shown_change(max_drop)
    sentence = (
        f"{variant.name} {_verb(metric, drop)} ({metric.shown(float(before))} in {stored.name}, "
        f"{metric.shown(float(after))} now; {len(own)} samples{paired}), allowed {allowed}"
    )
    if outcome is Outcome.FAIL:
        of_fp32 = _lost_by_fp32(stored, metric)
        sentence = _words_on_fp32(stored, of_fp32) + sentence
        if of_fp32 is not None:
            evidence["fp32_drop"] = rise_of(of_fp32[0]) if relative else float(of_fp32[0])
    if outcome is Outcome.FAIL and (differ := stored.differences()):
        sentence += (
            f"; between {', '.join(differ)} a few samples may flip: max_drop allows for them"
        )
    return Verdict.on(
        variant,
        GATE,
        quantity,
        outcome,
        sentence,
        limit=max_drop,
        observed=rise_of(drop) if relative else float(drop),
        metric=metric.name,
        evidence=evidence | {"before": float(before), "after": float(after)},
    )


def _words_on_fp32(stored: Stored, of_fp32: tuple[Fraction, str] | None) -> str:
    """What is known to have changed of FP32 itself, for which no variant is to blame; else nothing."""
    changed = stored.has_other_weights
    weights = f"FP32's weights changed since {stored.name}" if changed else ""
    lost = "" if of_fp32 is None else of_fp32[1]
    if not lost:
        return f"{weights}; " if weights else ""
    if weights:
        return f"{weights}, and FP32 itself {lost}, so look at the checkpoint first; "
    same = ", though its weights are the same" if changed is False else ""
    look = "the code and the data" if changed is False else "the checkpoint and the data"
    return f"FP32 itself {lost} since {stored.name}{same}, so look at {look} first; "


def _lost_by_fp32(stored: Stored, metric: Metric) -> tuple[Fraction, str] | None:
    """How much worse FP32 itself got on the same samples, as a figure and in words; None where it did not,
    or nobody knows."""
    row, own = stored.fp32_row, stored.variant.fp32.evaluation
    if stored.variant.is_fp32 or row is None or row.eval_set != stored.row.eval_set:
        return None
    packed = stored.baseline.scores_of(row)
    if metric.name not in own.scores or metric.name not in packed:
        return None
    scores, then = own.scores[metric.name], unpack_scores(packed[metric.name], len(own))
    if not _fits(then, scores):
        return None
    drop = _drop(exact_mean(then), exact_mean(scores), metric)
    if drop <= 0:
        return None
    worse, better = _counts(then, scores, metric)
    return drop, f"{_verb(metric, drop)} ({worse} samples worse and {better} better)"


def _fits(then: Array, now: Array) -> bool:
    """Whether the stored scores are numbers wherever those of now are."""
    return np.array_equal(np.isnan(then), np.isnan(now)) and not np.isinf(then).any()


def _counts(then: Array, now: Array, metric: Metric) -> tuple[int, int]:
    """How many samples are scored worse than then, and how many better."""
    higher, lower = int((now > then).sum()), int((now < then).sum())
    return (lower, higher) if metric.higher_is_better else (higher, lower)


def _drop(before: Fraction, after: Fraction, metric: Metric) -> Fraction:
    return before - after if metric.higher_is_better else after - before


def _verb(metric: Metric, drop: Fraction) -> str:
    if not drop:
        return "is as good as it was"
    worse = "drops" if metric.higher_is_better else "rises"
    better = "rises" if metric.higher_is_better else "falls"
    return f"{worse if drop > 0 else better} {metric.shown_amount(float(drop))}"
