"""Accuracy drop: on the eval set as given exact, in exact arithmetic; in the population by a bound."""

import math
from fractions import Fraction
from typing import Any

import numpy as np

from pytest_quant.judge.early import ALPHA, Early, decide_early
from pytest_quant.judge.honesty import (
    broken_outputs,
    broken_sentence,
    not_quantized,
    refusal,
)
from pytest_quant.judge.population import Bound, bound_drop
from pytest_quant.judge.verdict import Outcome, Verdict
from pytest_quant.subject.metrics import Metric
from pytest_quant.variant.evaluation import flipped
from pytest_quant.variant.variant import Variant

SCOPES = ("dataset", "population")
DROP = "max_accuracy_drop"


def judge_drop(
    variant: Variant,
    max_drop: float,
    *,
    relative: bool = False,
    metric: str | None = None,
    min_baseline: float | None = None,
    scope: str = "dataset",
    alpha: float = 0.01,
    early_stop: bool = False,
) -> Verdict:
    """Whether the metric drops from FP32 by no more than `max_drop` on the eval set.

    The set is finite and wholly evaluated, so the drop is a number, not an estimate: for scores
    a_i of FP32 and b_i of the variant it is mean(a_i - b_i), computed with fractions and compared
    exactly (0.07 of 100 samples is 7).

    Args:
        variant: the one to judge.
        max_drop: in the metric's unit, or as a share of FP32's value when `relative`.
        relative: the limit is max_drop x FP32's value.
        metric: which of several; default the first.
        min_baseline: FP32 itself must reach this value, else the comparison means nothing.
        scope: ``dataset``, the eval set itself; ``population``, all inputs of which it is a random
            sample (see `bound_drop`).
        alpha: error probability in the population.
        early_stop: decide on a part of the eval set where that is enough (see `decide_early`).

    Raises:
        ValueError: for a drop of 1 or more of a metric in fractions, a relative drop of a baseline
            that is not positive, an unknown metric or scope.
        QuantStageError: when the evaluation fails.
    """
    chosen = metric_named(variant, metric)
    quantity = quantity_of(chosen)
    check_drop_limit(chosen, max_drop)
    if scope not in SCOPES:
        raise ValueError(f"scope is {scope!r}; allowed: {', '.join(SCOPES)}")
    if reason := not_quantized(variant):
        return refusal(DROP, quantity, variant, max_drop, reason, chosen.name)
    if early_stop and scope == "dataset" and min_baseline is None:
        early = decide_early(variant, chosen, max_drop, relative)
        if early is not None:
            return _early_verdict(variant, chosen, max_drop, relative, early)
    if reason := broken_outputs(variant):
        return refusal(DROP, quantity, variant, max_drop, reason, chosen.name)
    own, fp32 = variant.evaluation, variant.fp32.evaluation
    before, after = exact_values(variant, chosen)
    drop = before - after if chosen.higher_is_better else after - before
    limit = Fraction(str(max_drop))
    if chosen.unit == "perplexity":  # up by r at most: the mean log likelihood down by ln(1 + r)
        limit, relative = Fraction(math.log1p(max_drop)), False
    if relative:
        if before <= 0:
            raise ValueError(
                f"relative=True with FP32 at {chosen.shown(float(before))}: a share of a baseline that "
                "is not positive says nothing; give an absolute max_drop"
            )
        limit *= before
    evidence: dict[str, Any] = {
        "samples": len(own),
        "fp32": fp32.values[chosen.name],
        "variant": own.values[chosen.name],
        "relative": relative,
        "scope": scope,
    }
    if chosen.name in own.scores:
        evidence["flips"] = len(flipped(own, fp32, chosen.name))
    if min_baseline is not None and not _reaches(before, min_baseline, chosen):
        word = "below" if chosen.higher_is_better else "above"
        perplexity = chosen.unit == "perplexity"
        floor = f"{min_baseline:.4g}" if perplexity else chosen.shown(min_baseline)
        reason = (
            f"FP32 itself is at {chosen.shown(float(before))}, {word} min_baseline "
            f"{floor}, so a drop from it means nothing."
        )
        return refusal(DROP, quantity, variant, max_drop, reason, chosen.name)
    outcome = Outcome.PASS if drop <= limit else Outcome.FAIL
    observed = float(drop / before) if relative else float(drop)
    if chosen.unit == "perplexity":
        observed = math.expm1(drop)
    change = _change(variant, chosen, before, after, drop, len(own))
    sentence = f"{change}, allowed {_allowed(chosen, max_drop, relative)}"
    if scope == "population":
        margin = float(limit) if chosen.unit == "perplexity" else max_drop
        bound = bound_drop(variant, chosen, margin, relative, alpha)
        outcome = bound.outcome
        evidence |= {
            "alpha": alpha,
            "bounds": [bound.lower, bound.upper],
            "method": bound.method,
            "samples_needed": bound.need,
        }
        sentence += f" in the population; {_bounded(chosen, bound, relative, alpha)}"
    return Verdict.on(
        variant,
        DROP,
        quantity,
        outcome,
        sentence,
        limit=max_drop,
        observed=observed,
        metric=chosen.name,
        evidence=evidence,
    )


def _early_verdict(
    variant: Variant, metric: Metric, max_drop: float, relative: bool, early: Early
) -> Verdict:
    quantity = quantity_of(metric)
    if early.broken:
        reason = broken_sentence(variant, early.broken, early.seen)
        return refusal(DROP, quantity, variant, max_drop, reason, metric.name)
    change = _change(variant, metric, early.before, early.after, early.drop, early.seen)
    certainty = "for certain" if early.certain else f"wrong with probability {ALPHA:g} at most"
    return Verdict.on(
        variant,
        DROP,
        quantity,
        early.outcome,
        f"{change}, allowed {_allowed(metric, max_drop, relative)}; decided after {early.seen:,} of "
        f"{early.samples:,} samples, {certainty}",
        limit=max_drop,
        observed=float(early.drop / early.before if relative and early.before else early.drop),
        metric=metric.name,
        evidence={
            "samples": early.seen,
            "of": early.samples,
            "seed": early.seed,
            "certain": early.certain,
            "alpha": ALPHA,
            "relative": relative,
            "scope": "dataset",
        },
    )


def _bounded(metric: Metric, bound: Bound, relative: bool, alpha: float) -> str:
    what = "drop beyond the allowed share" if relative else "drop"
    if not metric.higher_is_better:
        what = what.replace("drop", "rise")
    text = (
        f"{what} from {metric.shown_change(bound.lower)} to {metric.shown_change(bound.upper)} "
        f"({bound.method}, alpha {alpha:g})"
    )
    if bound.why:
        text += f"; {bound.why}"
    if bound.need is not None:
        text += f", about {bound.need:,} samples would decide"
    return text


def metric_named(variant: Variant, name: str | None) -> Metric:
    """One of the Subject's metrics, by name; the first by default."""
    metrics = variant.admitted.metrics
    if name is None:
        return metrics[0]
    for metric in metrics:
        if metric.name == name:
            return metric
    known = ", ".join(metric.name for metric in metrics)
    raise ValueError(f"metric={name!r} is not among quant_metric's: {known}")


def exact_values(variant: Variant, metric: Metric) -> tuple[Fraction, Fraction]:
    """FP32's and the variant's value on the whole set, without rounding where scores allow it."""
    own, fp32 = variant.evaluation, variant.fp32.evaluation
    if metric.name not in own.scores:
        return Fraction(fp32.values[metric.name]), Fraction(own.values[metric.name])
    return exact_mean(fp32.scores[metric.name]), exact_mean(own.scores[metric.name])


def exact_mean(scores: "np.ndarray[Any, Any]") -> Fraction:
    if (scores == np.round(scores)).all() and np.abs(scores).max(initial=0) < 2**31:
        return Fraction(int(scores.astype(np.int64).sum()), len(scores))
    return sum((Fraction(score) for score in scores.tolist()), Fraction(0)) / len(scores)


def check_drop_limit(metric: Metric, max_drop: float) -> None:
    if metric.unit == "fraction" and max_drop >= 1:
        raise ValueError(
            f"max_drop is {max_drop!r} for {metric.name}, a metric in fractions: 0.01 is one point"
        )


def _reaches(value: Fraction, floor: float, metric: Metric) -> bool:
    limit = Fraction(str(floor))
    if metric.unit == "perplexity":  # the value is its logarithm
        value = Fraction(math.exp(value))
    return value >= limit if metric.higher_is_better else value <= limit


def quantity_of(metric: Metric) -> str:
    return "accuracy" if metric.name.startswith("top-") else metric.name


def _change(
    variant: Variant,
    metric: Metric,
    before: Fraction,
    after: Fraction,
    drop: Fraction,
    samples: int,
) -> str:
    verb = "drops" if metric.higher_is_better else "rises"  # for the worse
    if drop < 0:
        verb = "rises" if metric.higher_is_better else "falls"
    shown = metric.shown_change(float(drop)).removeprefix("-")
    return (
        f"{variant.name} {verb} {shown} ({metric.shown(float(before))} -> "
        f"{metric.shown(float(after))}, {samples} samples)"
    )


def _allowed(metric: Metric, max_drop: float, relative: bool) -> str:
    if relative or metric.unit == "perplexity":
        return f"{100 * max_drop:g} % of FP32's"
    return metric.shown_change(max_drop)
