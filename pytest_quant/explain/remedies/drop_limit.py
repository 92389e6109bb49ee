"""Drop limit: how much accuracy a candidate loses, by as few samples as it takes to know."""

import math
from dataclasses import dataclass
from fractions import Fraction

from pytest_quant.explain.remedies.limit import Trial
from pytest_quant.judge.accuracy_drop import (
    check_drop_limit,
    checked_scope,
    exact_values,
    metric_named,
    proven_drop,
)
from pytest_quant.judge.early import decide_early
from pytest_quant.judge.limits import ALPHA, check_alpha, checked
from pytest_quant.judge.verdict import Outcome
from pytest_quant.subject.metrics import Metric
from pytest_quant.subject.perplexity import rise_of
from pytest_quant.variant.variant import Variant


@dataclass(frozen=True, slots=True)
class DropLimit:
    """The drop that is allowed.

    Args:
        most: in the metric's unit, or as a share of FP32's value when `relative`.
        relative: whether it is such a share.
        metric: that is judged.
        is_first: whether that is the variant's first metric, which a gate takes without its name.
        scope, alpha: as in `assert_max_accuracy_drop`.
    """

    most: float
    relative: bool
    metric: Metric
    is_first: bool = True
    scope: str = "dataset"
    alpha: float = ALPHA
    gate: str = "max_accuracy_drop"

    @property
    def arguments(self) -> tuple[str, ...]:
        """As `Limit` says."""
        named = () if self.is_first else (f'metric="{self.metric.name}"',)
        said = ["relative=True"] if self.relative else []
        if self.scope != "dataset":
            said.append(f'scope="{self.scope}"')
            said += [f"alpha={self.alpha!r}"] if self.alpha != ALPHA else []
        return (*said, *named)

    def trial(self, candidate: Variant) -> Trial:
        """On a part of the eval data where that decides, else on all of it."""
        early = (
            None
            if self.scope == "population"
            else decide_early(candidate, self.metric, self.most, self.relative)
        )
        if early is not None:
            drop = early.drop / early.before if self.relative and early.before else early.drop
            return Trial(early.outcome is Outcome.PASS, float(drop), early.seen)
        before, after = exact_values(candidate, self.metric)
        drop = before - after if self.metric.higher_is_better else after - before
        if self.scope == "population":
            bound = proven_drop(candidate, self.metric, self.most, self.relative, self.alpha)
            holds = bound.outcome is Outcome.PASS
        elif self.metric.unit == "perplexity":  # the values are its logarithms
            holds = drop <= math.log1p(self.most)
        else:
            holds = drop <= Fraction(str(self.most)) * (before if self.relative else 1)
        return Trial(holds, self._shown(drop, before), len(candidate.evaluation))

    def _shown(self, drop: Fraction, before: Fraction) -> float:
        """A drop in the unit of the limit."""
        if self.metric.unit == "perplexity":
            return rise_of(drop)
        return float(drop / before if self.relative and before else drop)

    def shown(self, value: float) -> str:
        """As `Limit` says."""
        return f"drop {self.change(value)}"

    def change(self, value: float) -> str:
        """A drop in its unit, for people."""
        if self.metric.unit == "perplexity":  # of which it is the relative rise
            return f"{100 * value:.2f} %"
        return (
            f"{100 * value:.2f} % of FP32's" if self.relative else self.metric.shown_change(value)
        )

    def nearest(self, one: float, other: float) -> float:
        """As `Limit` says."""
        return min(one, other)


def drop_limit(
    variant: Variant,
    max_drop: float,
    relative: bool,
    metric: str | None,
    scope: str = "dataset",
    alpha: float = ALPHA,
) -> DropLimit:
    """A limit on one of the variant's metrics.

    Raises:
        TypeError, ValueError: for what is no limit, and for a metric that there is not.
    """
    chosen = metric_named(variant, metric)
    checked("max_accuracy_drop", max_drop)
    check_drop_limit(chosen, max_drop, relative=relative)
    is_first = chosen.name == variant.admitted.metrics[0].name
    return DropLimit(max_drop, relative, chosen, is_first, checked_scope(scope), check_alpha(alpha))
