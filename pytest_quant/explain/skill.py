"""Skill: is FP32 better than naming one class always, so that a drop from it means something?"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from pytest_quant.judge.exact_tails import sign_tail
from pytest_quant.subject.metrics import Metric
from pytest_quant.subject.scoring import score
from pytest_quant.variant.evaluation import IGNORED, Evaluation

PROBED = 64  # samples that a metric of the user's is asked of
MOST_CLASSES = 2000
SURE = 10.0  # a logit
CHANCE = 0.05  # p-value, from which on an advantage may be chance


def lacks_skill(fp32: Evaluation, metric: Metric, *, is_sure: bool = False) -> str | None:
    """How FP32 fares beside always naming the commonest class, where it is not clearly better; else None.

    Both are compared on the samples that one of them alone gets right, by the one-sided sign test
    (McNemar, Psychometrika 12, 1947, 153-157). A metric of the user's is looked at where it gives 1 for
    the right class and 0 for another one; of what counts something else nothing is said.

    Args:
        is_sure: leave out what is better on these samples, if only by chance.
    """
    scores, labels, rate = fp32.scores.get(metric.name), fp32.labels, fp32.majority_rate
    if scores is None or labels is None or rate is None:
        return None
    counted = (labels != IGNORED) & ~np.isnan(scores)
    scores, labels = scores[counted], labels[counted]
    if not len(labels) or not _are_hits(metric, scores):
        return None
    classes, counts = np.unique(labels, return_counts=True)
    commonest = classes[counts.argmax()]
    if not metric.is_ours and not _is_accuracy(metric, labels, int(commonest)):
        return None
    by_rote = labels == commonest
    won, lost = int((scores > by_rote).sum()), int((scores < by_rote).sum())
    value, other = metric.shown(fp32.values[metric.name]), metric.shown(rate)
    if won > lost and (is_sure or sign_tail(won, lost) <= CHANCE):
        return None
    how = "not clearly" if won > lost else "no"
    return f"{how} better ({value}) than always naming the commonest class ({other})"


def _is_accuracy(metric: Metric, labels: "np.ndarray[Any, Any]", commonest: int) -> bool:
    """Whether it counts right answers, by what it says of outputs that name each class, or one always."""
    import torch

    some = labels[np.linspace(0, len(labels) - 1, min(PROBED, len(labels))).astype(int)]
    if some.min() < 0 or some.max() >= MOST_CLASSES:
        return False
    expected = ((some, np.ones(len(some))), (np.full(len(some), commonest), some == commonest))

    def says_so(form: Callable[[Any], Any]) -> bool:
        try:
            return all(
                np.array_equal(score(metric, form(named), torch.from_numpy(some), len(some)), hits)
                for named, hits in expected
            )
        except Exception:  # it wants outputs of another form
            return False

    return any(map(says_so, _forms(int(max(some.max(), 1)) + 1)))


def _forms(classes: int) -> Iterator[Callable[[Any], Any]]:
    """Outputs that name classes: a logit for each, or of two classes one logit or probability alone."""
    import torch

    yield lambda named: SURE * (2.0 * torch.eye(classes)[torch.from_numpy(named)] - 1)
    if classes == 2:
        for low, high in ((-SURE, SURE), (0.0, 1.0)):
            for shape in ((-1,), (-1, 1)):
                yield partial(_alone, low, high, shape)


def _alone(low: float, high: float, shape: tuple[int, ...], named: Any) -> Any:
    import torch

    return torch.where(torch.from_numpy(named) > 0, high, low).reshape(shape)


def _are_hits(metric: Metric, scores: "np.ndarray[Any, Any]") -> bool:
    if metric.higher_is_better is False or (metric.is_ours and metric.name != "top-1"):
        return False
    return bool(np.isin(scores, (0.0, 1.0)).all())
