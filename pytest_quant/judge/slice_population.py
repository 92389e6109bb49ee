"""Slices in the population: what each slice, as a random sample, proves about inputs still to come."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pytest_quant.errors import QuantStageError
from pytest_quant.judge.betting import population_drop
from pytest_quant.judge.population import fewest_samples, of_inputs
from pytest_quant.judge.score_bound import proves_above, proves_at_most, samples_needed
from pytest_quant.subject.metrics import Metric
from pytest_quant.variant.slices import Slice


@dataclass(frozen=True, slots=True)
class SliceBounds:
    """What is proven.

    Args:
        failed: slices whose loss is shown to be over the limit, by Holm's procedure.
        open: slices that are not proven to hold it, those that failed apart.
        method: in words.
        need: samples of one slice that would decide all that are open; None where none would.
    """

    failed: list[Slice]
    open: list[Slice]
    method: str
    need: int | None


def bound_slices(
    parts: Sequence[Slice], metric: Metric, margin: float, alpha: float
) -> SliceBounds:
    """Judge the drop of each slice in the population that its samples were drawn from.

    A slice FAILs where "its drop is within the limit" is refuted, step by step: at alpha / k with k
    slices left, then with those that are left, as long as any is refuted (Holm 1979). So the probability
    that any slice FAILs that holds the limit is at most alpha. That all hold it is proven where each is
    proven to at alpha, since one that does not must pass a test of its own.

    Args:
        parts: large enough to be judged.
        metric: whose scores lie in [0, 1].
        margin: the largest drop that is allowed.
        alpha: error probability of a FAIL and of a PASS.

    Raises:
        QuantStageError: for scores outside [0, 1], of which small samples prove nothing.
    """
    tests = [_test_of(part, metric) for part in parts]
    left, failed = list(range(len(parts))), set[int]()
    while found := {i for i in left if tests[i].is_above(margin, alpha / len(left))}:
        failed |= found
        left = [i for i in left if i not in found]
    opened = [i for i in left if not tests[i].is_at_most(margin, alpha)]
    needs = [tests[i].need(margin, alpha) for i in opened]
    known = [need for need in needs if need is not None]
    methods = dict.fromkeys(test.method for test in tests)
    return SliceBounds(
        [parts[i] for i in sorted(failed)],
        [parts[i] for i in opened],
        " or ".join(methods),
        max(known) if len(known) == len(needs) and known else None,
    )


@dataclass(frozen=True, slots=True)
class _Hits:
    """Right or wrong: the score bound for paired proportions."""

    lost: int
    won: int
    n: int
    method = "score bound (Tango 1998)"

    def is_above(self, margin: float, alpha: float) -> bool:
        return proves_above(self.lost, self.won, self.n, margin, alpha)

    def is_at_most(self, margin: float, alpha: float) -> bool:
        enough = self.n >= fewest_samples(margin)
        return enough and proves_at_most(self.lost, self.won, self.n, margin, alpha)

    def need(self, margin: float, alpha: float) -> int | None:
        psi = max((self.lost + self.won) / self.n, 1 / self.n)
        found = samples_needed(psi, margin, (self.lost - self.won) / self.n, alpha)
        return None if found is None else max(found, fewest_samples(margin))


@dataclass(frozen=True, slots=True)
class _Bounded:
    """Scores in [0, 1]: the betting bound."""

    differences: Any
    method = "betting bound (Waudby-Smith and Ramdas 2024)"

    def is_above(self, margin: float, alpha: float) -> bool:
        return population_drop(self.differences, margin, alpha).failed

    def is_at_most(self, margin: float, alpha: float) -> bool:
        return population_drop(self.differences, margin, alpha).passed

    def need(self, margin: float, alpha: float) -> int | None:
        return None


def _test_of(part: Slice, metric: Metric) -> _Hits | _Bounded:
    scores = np.concatenate([part.before, part.after])
    if not ((scores >= 0) & (scores <= 1)).all():
        raise QuantStageError(
            "evaluate",
            f"scope='population' of slices needs scores in [0, 1], and metric {metric.name} has others; "
            "judge the eval set itself (scope='dataset').",
        )
    worse = part.before - part.after if metric.higher_is_better else part.after - part.before
    differences = of_inputs(worse, part.inputs)
    if np.isin(differences, (-1, 0, 1)).all() and ((scores == 0) | (scores == 1)).all():
        lost, won = int((differences > 0).sum()), int((differences < 0).sum())
        return _Hits(lost, won, len(differences))
    return _Bounded(differences)
