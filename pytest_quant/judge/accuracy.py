"""Accuracy and flips on the eval set as given: exact, in exact arithmetic."""

from fractions import Fraction
from typing import Any

import numpy as np

from pytest_quant.errors import QuantStageError
from pytest_quant.judge.honesty import broken_outputs, not_quantized, refusal
from pytest_quant.judge.verdict import Outcome, Verdict
from pytest_quant.metrics import Metric
from pytest_quant.variant import Variant

DROP, FLIPS = "max_accuracy_drop", "max_flips"


def judge_drop(
    variant: Variant,
    max_drop: float,
    *,
    relative: bool = False,
    metric: str | None = None,
    min_baseline: float | None = None,
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

    Raises:
        ValueError: for a drop of 1 or more of a metric in fractions, a relative drop of a baseline
            that is not positive, or an unknown metric.
        QuantStageError: when the evaluation fails.
    """
    chosen = metric_named(variant, metric)
    _check_limit(chosen, max_drop)
    if reason := not_quantized(variant):
        return refusal(DROP, "accuracy", variant, max_drop, reason, chosen.name)
    own, fp32 = variant.evaluation, variant.fp32.evaluation
    if broken := broken_outputs(variant):
        reason = (
            f"{variant.name} gives NaN or infinite outputs on {broken} of {len(own)} samples where "
            "FP32 does not."
        )
        return refusal(DROP, "accuracy", variant, max_drop, reason, chosen.name)
    before, after = exact_values(variant, chosen)
    drop = before - after if chosen.higher_is_better else after - before
    limit = Fraction(str(max_drop))
    if relative:
        if before <= 0:
            raise ValueError(
                f"relative=True with FP32 at {chosen.shown(float(before))}: a share of a baseline that "
                "is not positive says nothing; give an absolute max_drop"
            )
        limit *= before
    quantity = _quantity(chosen)
    evidence: dict[str, Any] = {
        "samples": len(own),
        "fp32": fp32.values[chosen.name],
        "variant": own.values[chosen.name],
        "relative": relative,
        "scope": "dataset",
    }
    if chosen.name in own.scores:
        evidence["flips"] = count_flips(variant, chosen)
    if min_baseline is not None and not _reaches(before, min_baseline, chosen):
        word = "below" if chosen.higher_is_better else "above"
        reason = (
            f"FP32 itself is at {chosen.shown(float(before))}, {word} min_baseline "
            f"{chosen.shown(min_baseline)}, so a drop from it means nothing."
        )
        return refusal(DROP, quantity, variant, max_drop, reason, chosen.name)
    outcome = Outcome.PASS if drop <= limit else Outcome.FAIL
    observed = float(drop / before) if relative else float(drop)
    return Verdict.on(
        variant,
        DROP,
        quantity,
        outcome,
        f"{_change(variant, chosen, before, after, drop)}, allowed "
        f"{_allowed(chosen, max_drop, relative)}",
        limit=max_drop,
        observed=observed,
        metric=chosen.name,
        evidence=evidence,
    )


def judge_flips(variant: Variant, max_flips: float) -> Verdict:
    """Whether the share of samples whose score differs from FP32's is at most `max_flips`.

    Equal accuracy can hide many answers that changed, as many for the better as for the worse
    (Dutta et al., "Accuracy is not all you need", NeurIPS 2024, arXiv 2407.09141).

    Raises:
        QuantStageError: when the metric does not score each sample.
    """
    metric = metric_named(variant, None)
    if reason := not_quantized(variant):
        return refusal(FLIPS, "flips", variant, max_flips, reason, metric.name)
    own = variant.evaluation
    if metric.name not in own.scores:
        raise QuantStageError(
            "evaluate",
            f"flips need a score for each sample, and metric {metric.name} gives one number "
            "for a batch or the whole set; let quant_metric return a tensor of shape [batch].",
        )
    flips = count_flips(variant, metric)
    share = Fraction(flips, len(own))
    outcome = Outcome.PASS if share <= Fraction(str(max_flips)) else Outcome.FAIL
    return Verdict.on(
        variant,
        FLIPS,
        "flips",
        outcome,
        f"{variant.name} scores {flips} of {len(own)} samples differently from FP32 "
        f"({100 * flips / len(own):.2f} %), allowed {100 * max_flips:g} %",
        limit=max_flips,
        observed=float(share),
        metric=metric.name,
        evidence={"samples": len(own), "flips": flips},
    )


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


def count_flips(variant: Variant, metric: Metric) -> int:
    """Samples whose score differs from FP32's."""
    own, fp32 = variant.evaluation.scores[metric.name], variant.fp32.evaluation.scores[metric.name]
    return int((own != fp32).sum())


def exact_values(variant: Variant, metric: Metric) -> tuple[Fraction, Fraction]:
    """FP32's and the variant's value on the whole set, without rounding where scores allow it."""
    own, fp32 = variant.evaluation, variant.fp32.evaluation
    if metric.name not in own.scores:
        return Fraction(fp32.values[metric.name]), Fraction(own.values[metric.name])
    return _exact_mean(fp32.scores[metric.name]), _exact_mean(own.scores[metric.name])


def _exact_mean(scores: "np.ndarray[Any, Any]") -> Fraction:
    if (scores == np.round(scores)).all() and np.abs(scores).max(initial=0) < 2**31:
        return Fraction(int(scores.astype(np.int64).sum()), len(scores))
    return sum((Fraction(score) for score in scores.tolist()), Fraction(0)) / len(scores)


def _check_limit(metric: Metric, max_drop: float) -> None:
    if metric.unit == "fraction" and max_drop >= 1:
        raise ValueError(
            f"max_drop is {max_drop!r} for {metric.name}, a metric in fractions: 0.01 is one point"
        )


def _reaches(value: Fraction, floor: float, metric: Metric) -> bool:
    limit = Fraction(str(floor))
    return value >= limit if metric.higher_is_better else value <= limit


def _quantity(metric: Metric) -> str:
    return "accuracy" if metric.name.startswith("top-") else metric.name


def _change(
    variant: Variant, metric: Metric, before: Fraction, after: Fraction, drop: Fraction
) -> str:
    verb = "drops" if metric.higher_is_better else "rises"
    if drop < 0:
        verb = "rises" if metric.higher_is_better else "drops"
    shown = metric.shown_change(abs(float(drop)))
    return (
        f"{variant.name} {verb} {shown} ({metric.shown(float(before))} -> "
        f"{metric.shown(float(after))}, {len(variant.evaluation)} samples)"
    )


def _allowed(metric: Metric, max_drop: float, relative: bool) -> str:
    return f"{100 * max_drop:g} % of FP32's" if relative else metric.shown_change(max_drop)
