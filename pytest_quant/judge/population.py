"""Accuracy in future: what the eval set, as a random sample, proves about inputs still to come.

The drop on the eval set itself is a number; the drop on all inputs that the model will meet can only
be bounded. PASS and FAIL are each wrong with probability at most alpha; what the sample cannot prove
is INCONCLUSIVE. Which bound is used follows from the scores:

* 0 or 1: the score bound for a difference of paired proportions (Tango, Statistics in Medicine 17,
  1998), which unlike Wald's interval does not take "no sample differs" for proof;
* in [0, 1]: a betting bound (Waudby-Smith and Ramdas, JRSS B 86, 2024, arXiv 2010.09686);
* anything else: a t bound, labelled as approximate, from 1000 samples on.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pytest_quant.errors import QuantStageError
from pytest_quant.judge.approximate import MINIMUM_ALPHA, MINIMUM_SAMPLES, approximate_drop
from pytest_quant.judge.betting import population_drop
from pytest_quant.judge.limits import check_alpha
from pytest_quant.judge.score_bound import (
    drop_bounds,
    proves_above,
    proves_at_most,
    samples_needed,
)
from pytest_quant.judge.verdict import Outcome
from pytest_quant.subject.metrics import Metric
from pytest_quant.variant.variant import Variant

UNSEEN_RISK = 0.05  # a set so small that a drop of the margin may show in no sample proves nothing


@dataclass(frozen=True, slots=True)
class Bound:
    """What the sample proves.

    Args:
        outcome: PASS, FAIL or INCONCLUSIVE.
        lower, upper: one-sided bounds of the drop in the population.
        method: in words.
        inputs: that differ from one another; only these count.
        need: samples that would decide, where that can be said.
        why: for INCONCLUSIVE.
    """

    outcome: Outcome
    lower: float
    upper: float
    method: str
    inputs: int
    need: int | None = None
    why: str = ""


def bound_drop(
    variant: Variant, metric: Metric, max_drop: float, relative: bool, alpha: float
) -> Bound:
    """Judge the drop in the population that the eval set was drawn from.

    Args:
        variant: evaluated, with a score for each sample.
        metric: which of its metrics.
        max_drop: absolute, or as a share of FP32's value.
        relative: which of both.
        alpha: error probability of PASS and of FAIL.

    Raises:
        QuantStageError: when the metric gives no score for each sample.
        ValueError: alpha is outside (0, 0.05], or below 0.01 for scores that are not bounded.
    """
    alpha = check_alpha(alpha)
    own = variant.evaluation
    if metric.name not in own.scores:
        raise QuantStageError(
            "evaluate",
            f"scope='population' needs a score for each sample, and metric {metric.name} gives one "
            "number for a batch or the whole set; let it return a tensor of shape [batch], or judge "
            "the eval set itself (scope='dataset').",
        )
    before, after = variant.fp32.evaluation.scores[metric.name], own.scores[metric.name]
    some = ~np.isnan(before)
    before, after, which = before[some], after[some], own.which_input[some]
    scores = np.concatenate([before, after])
    is_bounded = bool(((scores >= 0) & (scores <= 1)).all())
    sign = 1.0 if metric.higher_is_better else -1.0
    if relative:
        differences = sign * ((1 - sign * max_drop) * before - after)
        margin = 0.0
    else:
        differences, margin = sign * (before - after), max_drop
    differences = of_inputs(differences, which)
    are_hits = not relative and ((scores == 0) | (scores == 1)).all()
    if is_bounded and are_hits and np.isin(differences, (-1, 0, 1)).all():
        return _of_hits(differences, margin, alpha, metric)
    if is_bounded and np.abs(differences).max(initial=0) <= 1:
        return _of_bounded(differences, margin, alpha)
    return _of_unbounded(differences, margin, alpha)


def of_inputs(differences: Any, which: Any) -> Any:
    """One difference for each distinct input, the mean of its copies', since copies prove nothing more."""
    _, index, copies = np.unique(which, return_inverse=True, return_counts=True)
    return differences if len(copies) == len(which) else np.bincount(index, differences) / copies


def fewest_samples(margin: float) -> int:
    """So many that a loss on a share `margin` of the inputs would show with 95 % (299 for 1 pt)."""
    return math.ceil(math.log(UNSEEN_RISK) / math.log1p(-margin)) if 0 < margin < 1 else 1


def _of_hits(differences: Any, margin: float, alpha: float, metric: Metric) -> Bound:
    n = len(differences)
    lost, won = int((differences > 0).sum()), int((differences < 0).sum())
    lower, upper = drop_bounds(lost, won, n, alpha)
    method = "score bound (Tango 1998)"
    if n < fewest_samples(margin):
        shown = f"{100 * margin:g} pt" if metric.unit == "fraction" else f"{margin:g}"
        why = f"{n} samples cannot show a drop of {shown}"
        return Bound(Outcome.INCONCLUSIVE, lower, upper, method, n, fewest_samples(margin), why)
    if proves_at_most(lost, won, n, margin, alpha):
        return Bound(Outcome.PASS, lower, upper, method, n)
    if proves_above(lost, won, n, margin, alpha):
        return Bound(Outcome.FAIL, lower, upper, method, n)
    drop = (lost - won) / n
    need = samples_needed(max((lost + won) / n, 1 / n), margin, drop, alpha)
    return Bound(
        Outcome.INCONCLUSIVE, lower, upper, method, n, need, "the bound includes the limit"
    )


def _of_bounded(differences: Any, margin: float, alpha: float) -> Bound:
    found = population_drop(differences, margin, alpha)
    outcome = (
        Outcome.PASS if found.passed else Outcome.FAIL if found.failed else Outcome.INCONCLUSIVE
    )
    method = "betting bound (Waudby-Smith and Ramdas 2024)"
    why = "the bound includes the limit" if outcome is Outcome.INCONCLUSIVE else ""
    need = _by_variance(differences, margin, alpha) if why else None
    return Bound(outcome, found.lower, found.upper, method, len(differences), need, why)


def _of_unbounded(differences: Any, margin: float, alpha: float) -> Bound:
    if alpha < MINIMUM_ALPHA:
        raise ValueError(
            f"alpha is {alpha!r}, but scores that are not within [0, 1] have an approximate bound, "
            f"which cannot promise less than {MINIMUM_ALPHA:g}"
        )
    method = "approximate t bound"
    n = len(differences)
    if n < MINIMUM_SAMPLES or not differences.any():
        why = f"an approximate bound needs {MINIMUM_SAMPLES} samples that are not all equal"
        lower = upper = float(differences.mean())
        return Bound(Outcome.INCONCLUSIVE, lower, upper, method, n, MINIMUM_SAMPLES, why)
    found = approximate_drop(differences, alpha)
    if found.is_at_most(margin):
        return Bound(Outcome.PASS, found.lower, found.upper, method, n)
    if found.is_above(margin):
        return Bound(Outcome.FAIL, found.lower, found.upper, method, n)
    need = _by_variance(differences, margin, alpha)
    why = "the bound includes the limit"
    return Bound(Outcome.INCONCLUSIVE, found.lower, found.upper, method, n, need, why)


def _by_variance(differences: Any, margin: float, alpha: float) -> int | None:
    """Samples for 90 % power if mean and variance stay as seen: (z_a + z_p)^2 var / (m - d)^2."""
    from statistics import NormalDist

    distance = abs(margin - float(differences.mean()))
    if distance == 0:
        return None
    z = NormalDist().inv_cdf(1 - alpha) + NormalDist().inv_cdf(0.9)
    return max(math.ceil(z * z * float(differences.var()) / distance**2), len(differences) + 1)
