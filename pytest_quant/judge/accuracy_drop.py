"""Accuracy drop: on the eval set as given exact, in exact arithmetic; in the population by a bound."""

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from pytest_quant.errors import terminal_safe
from pytest_quant.judge.early import ALPHA, Early, decide_early, tell_evaluated_whole
from pytest_quant.judge.exact_mean import exact_mean
from pytest_quant.judge.honesty import (
    broken_outputs,
    broken_sentence,
    impossible_score,
    refusal,
    why_refused,
)
from pytest_quant.judge.limits import check_alpha
from pytest_quant.judge.population import Bound, bound_drop
from pytest_quant.judge.verdict import Outcome, Verdict
from pytest_quant.subject.metrics import Metric
from pytest_quant.subject.perplexity import perplexity_of, rise_of
from pytest_quant.subject.positives import Precision, Recall
from pytest_quant.variant.evaluation import flipped, has_flips, worst_change
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
            that is not positive, an unknown metric or scope, an alpha outside (0, 0.05].
        QuantStageError: when the evaluation fails.
    """
    asked = _Asked(metric_named(variant, metric), max_drop, relative)
    check_drop_limit(asked.metric, max_drop, relative=relative)
    alpha = check_alpha(alpha)
    checked_scope(scope)
    if reason := why_refused(variant):
        return asked.refused(variant, reason)
    if early_stop and scope == "dataset" and min_baseline is None:
        early = decide_early(variant, asked.metric, max_drop, relative)
        if early is not None:
            return _early_verdict(variant, asked, early)
        tell_evaluated_whole(variant)
    reason = broken_outputs(variant) or impossible_score(variant, asked.metric)
    if reason := reason or _below(variant, asked.metric, min_baseline):
        return asked.refused(variant, reason)
    verdict = _on_the_set(variant, asked)
    return verdict if scope == "dataset" else _in_the_population(variant, asked, alpha, verdict)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a gate was asked: by how much a metric may drop."""

    metric: Metric
    max_drop: float
    relative: bool

    @property
    def quantity(self) -> str:
        return quantity_of(self.metric)

    @property
    def allowed(self) -> str:
        """For a person."""
        if self.relative or self.metric.unit == "perplexity":
            return f"{100 * self.max_drop:g} % of FP32's"
        return self.metric.shown_change(self.max_drop)

    def limit(self, before: Fraction) -> Fraction:
        """The largest drop of the metric's value from FP32's that is allowed.

        Raises:
            ValueError: for a share of a value that is not positive.
        """
        if (
            self.metric.unit == "perplexity"
        ):  # up by r at most: the mean log likelihood by ln(1 + r)
            return Fraction(math.log1p(self.max_drop))
        if not self.relative:
            return Fraction(str(self.max_drop))
        if before <= 0:
            raise ValueError(
                f"relative=True with FP32 at {self.metric.shown(float(before))}: a share of a baseline "
                "that is not positive says nothing; give an absolute max_drop"
            )
        return Fraction(str(self.max_drop)) * before

    def observed(self, drop: Fraction, before: Fraction) -> float:
        """A drop in the unit of the limit."""
        if self.metric.unit == "perplexity":
            return rise_of(drop)
        return float(drop / before) if self.relative and before else float(drop)

    def refused(self, variant: Variant, reason: str) -> Verdict:
        return refusal(DROP, self.quantity, variant, self.max_drop, reason, self.metric.name)

    def verdict(self, variant: Variant, outcome: Outcome, clause: str, **told: Any) -> Verdict:
        return Verdict.on(
            variant, DROP, self.quantity, outcome, clause,
            limit=self.max_drop, metric=self.metric.name, **told,
        )  # fmt: skip


def _on_the_set(variant: Variant, asked: _Asked) -> Verdict:
    """The verdict on the eval set itself, exact."""
    metric, own, fp32 = asked.metric, variant.evaluation, variant.fp32.evaluation
    before, after = exact_values(variant, metric)
    drop = before - after if metric.higher_is_better else after - before
    evidence: dict[str, Any] = {
        "samples": len(own),
        "fp32": fp32.values[metric.name],
        "variant": own.values[metric.name],
        "relative": asked.relative and metric.unit != "perplexity",
        "scope": "dataset",
    }
    if metric.name in own.scores and has_flips(metric):
        evidence["flips"] = len(flipped(own, fp32, metric.name))
    elif (worst := worst_change(own, fp32, metric)) is not None:
        evidence["worst"] = rise_of(worst) if metric.unit == "perplexity" else worst
    outcome = Outcome.PASS if drop <= asked.limit(before) else Outcome.FAIL
    is_recall = isinstance(metric.fn, Recall)
    samples = f"{len(own.known(metric.name))} positive of {len(own)}" if is_recall else len(own)
    change = _change(variant, metric, before, after, drop, samples)
    return asked.verdict(
        variant,
        outcome,
        f"{change}, allowed {asked.allowed}",
        observed=asked.observed(drop, before),
        evidence=evidence,
    )


def _in_the_population(variant: Variant, asked: _Asked, alpha: float, verdict: Verdict) -> Verdict:
    """The verdict on all inputs of which the eval set is a random sample."""
    metric = asked.metric
    relative = asked.relative and metric.unit != "perplexity"
    bound = proven_drop(variant, metric, asked.max_drop, asked.relative, alpha)
    proven = _bounded(metric, bound, relative, alpha, len(variant.evaluation.known(metric.name)))
    evidence = {
        "scope": "population",
        "alpha": alpha,
        "bounds": [bound.lower, bound.upper],
        "method": bound.method,
        "samples_needed": bound.need,
        "inputs": bound.inputs,
    }
    return replace(
        verdict,
        outcome=bound.outcome,
        clause=f"{verdict.clause} in the population; {proven}",
        evidence={**verdict.evidence, **evidence},
    )


def proven_drop(
    variant: Variant, metric: Metric, max_drop: float, relative: bool, alpha: float
) -> Bound:
    """What the eval set proves of a metric's drop in the population, of whatever is called a variant.

    Args:
        max_drop, relative, alpha: as in `judge_drop`.
    """
    if metric.unit == "perplexity":
        return bound_drop(variant, metric, math.log1p(max_drop), False, alpha)
    return bound_drop(variant, metric, max_drop, relative, alpha)


def _below(variant: Variant, metric: Metric, min_baseline: float | None) -> str | None:
    """Why FP32 itself is no baseline; None where it reaches what was asked for."""
    if min_baseline is None:
        return None
    before, _ = exact_values(variant, metric)
    if _reaches(before, min_baseline, metric):
        return None
    word = "below" if metric.higher_is_better else "above"
    perplexity = metric.unit == "perplexity"
    floor = f"{min_baseline:.4g}" if perplexity else metric.shown(min_baseline)
    return (
        f"FP32 itself is at {metric.shown(float(before))}, {word} min_baseline {floor}, so a drop from "
        "it means nothing."
    )


def _early_verdict(variant: Variant, asked: _Asked, early: Early) -> Verdict:
    if early.broken:
        return asked.refused(variant, broken_sentence(variant, early.broken, early.seen))
    metric = asked.metric
    change = _change(variant, metric, early.before, early.after, early.drop, early.seen)
    certainty = "for certain" if early.certain else f"wrong with probability {ALPHA:g} at most"
    return asked.verdict(
        variant,
        early.outcome,
        f"{change}, allowed {asked.allowed}; decided after {early.seen:,} of {early.samples:,} samples, "
        f"{certainty}",
        observed=asked.observed(early.drop, early.before),
        evidence={
            "samples": early.seen,
            "of": early.samples,
            "seed": early.seed,
            "certain": early.certain,
            "alpha": ALPHA,
            "relative": asked.relative,
            "scope": "dataset",
        },
    )


def _bounded(metric: Metric, bound: Bound, relative: bool, alpha: float, samples: int) -> str:
    what = "drop" if metric.higher_is_better else "rise"
    what += " beyond the allowed share" if relative else ""
    text = (
        f"{what} from {metric.shown_change(bound.lower)} to {metric.shown_change(bound.upper)} "
        f"({bound.method}, alpha {alpha:g}"
        + (f", {bound.inputs:,} distinct inputs)" if bound.inputs < samples else ")")
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
    known = terminal_safe(", ".join(metric.name for metric in metrics))
    raise ValueError(f"metric={name!r} is not among quant_metric's: {known}")


def exact_values(variant: Variant, metric: Metric) -> tuple[Fraction, Fraction]:
    """FP32's and the variant's value on the whole set, without rounding where scores allow it."""
    own, fp32 = variant.evaluation, variant.fp32.evaluation
    if metric.name not in own.scores:
        before, after = (Fraction(each.values[metric.name]) for each in (fp32, own))
        if isinstance(metric.fn, Precision):  # two counts of samples, which a float's ratio tells
            return before.limit_denominator(len(fp32)), after.limit_denominator(len(own))
        return before, after
    return exact_mean(fp32.scores[metric.name]), exact_mean(own.scores[metric.name])


def checked_scope(scope: str) -> str:
    """The scope, if it is one.

    Raises:
        ValueError: when it is none.
    """
    if scope not in SCOPES:
        raise ValueError(f"scope is {scope!r}; allowed: {', '.join(SCOPES)}")
    return scope


def check_drop_limit(
    metric: Metric, max_drop: float, name: str = "max_drop", *, relative: bool = False
) -> None:
    """Refuse a drop of all that there is, which every variant holds, or of as much as FP32's value."""
    if metric.unit == "fraction" and max_drop >= 1:
        raise ValueError(
            f"{name} is {max_drop!r} for {terminal_safe(metric.name)}, a metric in fractions: 0.01 is "
            "one point"
        )
    if relative and max_drop >= 1:
        raise ValueError(
            f"{name} is {max_drop!r} with relative=True, a share of FP32's value: 0.05 is 5 %. To allow "
            f"more than all of it give a {name} in the metric's unit"
        )


def _reaches(value: Fraction, floor: float, metric: Metric) -> bool:
    limit = Fraction(str(floor))
    # a perplexity's value is its logarithm
    known = perplexity_of(value) if metric.unit == "perplexity" else value
    return known >= limit if metric.higher_is_better else known <= limit


def quantity_of(metric: Metric) -> str:
    return "accuracy" if metric.name.startswith("top-") else metric.name


def _change(
    variant: Variant,
    metric: Metric,
    before: Fraction,
    after: Fraction,
    drop: Fraction,
    samples: int | str,
) -> str:
    verb = "drops" if metric.higher_is_better else "rises"  # for the worse
    if drop < 0:
        verb = "rises" if metric.higher_is_better else "falls"
    return (
        f"{variant.name} {verb} {metric.shown_amount(float(drop))} ({metric.shown(float(before))} -> "
        f"{metric.shown(float(after))}, {samples} samples)"
    )
