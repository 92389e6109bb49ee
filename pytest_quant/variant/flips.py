"""Flips of an evaluation: which samples are scored otherwise than by FP32, the worst first."""

from typing import Any

import numpy as np

from pytest_quant.subject.answers import LEAD, OUTPUT
from pytest_quant.subject.metrics import Metric
from pytest_quant.variant.evaluation import Evaluation


def worst_flips(own: Evaluation, fp32: Evaluation, metric: Metric, most: int) -> list[int]:
    """Samples, by their place in the evaluations, whose scores differ, at most so many.

    Those that lose come first, in the order of what they lose, then those that win. Of equal ones first
    where the wrong answer is farthest above the right one; where no classes are named, where the two
    outputs are farthest apart.
    """
    before, after = fp32.scores[metric.name], own.scores[metric.name]
    lost = before - after if metric.higher_is_better else after - before
    flips = np.flatnonzero((before != after) & ~(np.isnan(before) & np.isnan(after)))
    surely = np.nan_to_num(_surely(own, fp32, lost), nan=0.0)[flips]
    loss = np.nan_to_num(lost)[flips]
    group = np.where(loss > 0, 0, 1)
    order = np.lexsort((fp32.order[flips], -surely, -np.abs(loss), group))
    found: list[int] = flips[order[:most]].tolist()
    return found


def _surely(own: Evaluation, fp32: Evaluation, lost: Any) -> Any:
    """[n] how far a wrong answer is above the right one, or how far two outputs are apart."""
    if own.answers is None or fp32.answers is None:
        return np.zeros(len(lost))
    leads = np.where(lost > 0, own.answers[:, LEAD], fp32.answers[:, LEAD])
    with np.errstate(invalid="ignore"):  # of infinite outputs
        apart = np.abs(own.answers[:, OUTPUT] - fp32.answers[:, OUTPUT])
    return np.where(np.isnan(leads), apart, leads)
