"""Skill: is FP32 better than naming one class always, so that a drop from it means something?"""

from typing import Any

import numpy as np

from pytest_quant.judge.exact_tails import sign_tail
from pytest_quant.subject.metrics import Metric
from pytest_quant.variant.evaluation import IGNORED, Evaluation

CHANCE = 0.05  # p-value, from which on an advantage may be chance


def lacks_skill(fp32: Evaluation, metric: Metric) -> str | None:
    """How FP32 fares beside always naming the commonest class, where it is not clearly better; else None.

    Both are compared on the samples that one of them alone gets right, by the one-sided sign test
    (McNemar, Psychometrika 12, 1947, 153-157). Of a metric that does not count hits nothing is said.
    """
    scores, labels, rate = fp32.scores.get(metric.name), fp32.labels, fp32.majority_rate
    if scores is None or labels is None or rate is None:
        return None
    counted = (labels != IGNORED) & ~np.isnan(scores)
    scores, labels = scores[counted], labels[counted]
    if not len(labels) or not _are_hits(metric, scores):
        return None
    classes, counts = np.unique(labels, return_counts=True)
    by_rote = labels == classes[counts.argmax()]
    won, lost = int((scores > by_rote).sum()), int((scores < by_rote).sum())
    value, other = metric.shown(fp32.values[metric.name]), metric.shown(rate)
    if won > lost and sign_tail(won, lost) <= CHANCE:
        return None
    how = "not clearly" if won > lost else "no"
    return f"{how} better ({value}) than always naming the commonest class ({other})"


def _are_hits(metric: Metric, scores: "np.ndarray[Any, Any]") -> bool:
    if metric.higher_is_better is False or (metric.is_ours and metric.name != "top-1"):
        return False
    return bool(np.isin(scores, (0.0, 1.0)).all())
