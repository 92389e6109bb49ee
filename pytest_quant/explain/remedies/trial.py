"""Trial: how much accuracy a candidate loses, by as few samples as it takes to know."""

import math
from dataclasses import dataclass
from fractions import Fraction

from pytest_quant.judge.accuracy_drop import check_drop_limit, exact_values, metric_named
from pytest_quant.judge.early import decide_early
from pytest_quant.judge.limits import checked
from pytest_quant.judge.verdict import Outcome
from pytest_quant.subject.metrics import Metric
from pytest_quant.subject.perplexity import rise_of
from pytest_quant.variant.variant import Variant


@dataclass(frozen=True, slots=True)
class Limit:
    """The drop that is allowed.

    Args:
        max_drop: in the metric's unit, or as a share of FP32's value when `relative`.
        metric: that is judged.
    """

    max_drop: float
    relative: bool
    metric: Metric

    def shown(self, drop: float) -> str:
        """A trial's drop for people."""
        if self.metric.unit == "perplexity":  # of which it is the relative rise
            return f"{100 * drop:.2f} %"
        return f"{100 * drop:.2f} % of FP32's" if self.relative else self.metric.shown_change(drop)


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate that was evaluated.

    Args:
        passed: whether it holds the limit.
        drop: on the samples that were seen, as `max_drop` is given: in the metric's unit, or as a
            share of FP32's value.
        samples: seen.
    """

    passed: bool
    drop: float
    samples: int


def limit_of(variant: Variant, max_drop: float, relative: bool, metric: str | None) -> Limit:
    """A limit on one of the variant's metrics.

    Raises:
        TypeError, ValueError: for what is no limit, and for a metric that there is not.
    """
    chosen = metric_named(variant, metric)
    checked("max_accuracy_drop", max_drop)
    check_drop_limit(chosen, max_drop, relative=relative)
    return Limit(max_drop, relative, chosen)


def trial_of(candidate: Variant, limit: Limit) -> Trial:
    """A candidate on the eval data: on a part of it where that decides, else on all of it."""
    early = decide_early(candidate, limit.metric, limit.max_drop, limit.relative)
    if early is not None:
        drop = early.drop / early.before if limit.relative and early.before else early.drop
        return Trial(early.outcome is Outcome.PASS, float(drop), early.seen)
    before, after = exact_values(candidate, limit.metric)
    drop = before - after if limit.metric.higher_is_better else after - before
    allowed = Fraction(str(limit.max_drop)) * (before if limit.relative else 1)
    if limit.metric.unit == "perplexity":  # the values are its logarithms
        return Trial(drop <= math.log1p(limit.max_drop), rise_of(drop), len(candidate.evaluation))
    shown = drop / before if limit.relative and before else drop
    return Trial(drop <= allowed, float(shown), len(candidate.evaluation))
