"""Slices of an evaluation: who is in each, and what each has won and lost against FP32."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pytest_quant.subject.metrics import Metric
from pytest_quant.variant.evaluation import IGNORED, Evaluation

BY_NAME, BY_CLASS = "quant_slices", "class"


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """The samples of one name that have a score, paired with FP32's.

    Args:
        name: as `quant_slices` gave it, or ``class 7``.
        before, after: [m] FP32's scores and the variant's.
        inputs: [m] int64, equal for samples of equal inputs.
        lost, won: samples whose score is worse than FP32's, and better.
        drop: of the mean score for the worse, as floats know it.
    """

    name: str
    before: np.ndarray[Any, Any]
    after: np.ndarray[Any, Any]
    inputs: np.ndarray[Any, Any]
    lost: int
    won: int
    drop: float

    def __len__(self) -> int:
        return len(self.before)


@dataclass(frozen=True, slots=True, eq=False)
class Sliced:
    """All slices of an eval set.

    Args:
        by: ``quant_slices`` or ``class``.
        parts: in the order of their first samples, or of the class numbers.
        samples, lost, won: of all samples that have a score, in a slice or not.
        drop: of these.
    """

    by: str
    parts: tuple[Slice, ...]
    samples: int
    lost: int
    won: int
    drop: float


def sliced(own: Evaluation, fp32: Evaluation, metric: Metric) -> Sliced | None:
    """The slices by a metric; None where the metric does not score each sample, or nobody names slices
    and targets are no class numbers."""
    found, after, before = _codes(fp32), own.scores.get(metric.name), fp32.scores.get(metric.name)
    if found is None or after is None or before is None:
        return None
    codes, names = found
    scored = ~np.isnan(before)
    codes, before, after = codes[scored], before[scored], after[scored]
    inputs = own.which_input[scored]
    worse = before - after if metric.higher_is_better else after - before
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(len(names) + 1))
    parts = []
    for name, start, end in zip(names, starts[:-1], starts[1:], strict=True):
        if start < end:
            of = order[start:end]
            parts.append(Slice(name, before[of], after[of], inputs[of], *_balance(worse[of])))
    by = BY_CLASS if fp32.slices is None else BY_NAME
    return Sliced(by, tuple(parts), len(worse), *_balance(worse))


def _balance(worse: "np.ndarray[Any, Any]") -> tuple[int, int, float]:
    drop = float(worse.mean()) if len(worse) else 0.0
    return int((worse > 0).sum()), int((worse < 0).sum()), drop


def _codes(fp32: Evaluation) -> tuple["np.ndarray[Any, Any]", tuple[str, ...]] | None:
    """[n] which name each sample has, -1 for none, and the names."""
    if fp32.slices is not None:
        return fp32.slices, fp32.slice_names
    if fp32.labels is None:
        return None
    labels, codes = np.unique(fp32.labels, return_inverse=True)
    return np.where(fp32.labels == IGNORED, -1, codes), tuple(f"class {each}" for each in labels)
