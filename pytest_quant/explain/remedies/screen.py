"""Screen: the samples that a failing variant scores otherwise than FP32, to turn candidates down cheaply.

A candidate that still loses far too many of just these does not hold the limit, whatever little it may
gain among the others. Only one that gets past them is worth a pass over all samples.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from pytest_quant.batches import each_batch, mapped, on_cpu, size_of, tensors_in, unpack
from pytest_quant.conditions import isolated
from pytest_quant.digests import digests
from pytest_quant.errors import QuantStageError
from pytest_quant.explain.remedies.trial import Limit, Trial
from pytest_quant.judge.accuracy import exact_mean
from pytest_quant.scoring import score
from pytest_quant.subject import forward
from pytest_quant.variant import Variant

MOST = 512  # samples
SLACK = Fraction(1, 200)  # of all samples, beside the allowed drop once more: what others may gain
CHUNK = 64  # samples of one forward
Batch = tuple[Any, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Screen:
    """Samples that are hard for int8.

    Args:
        batches: inputs and targets.
        before: FP32's scores, one array for each batch.
        most: what may be lost in sum over these; beyond it the rest cannot make up for it.
        samples: of the whole eval set.
        limit: that candidates are to hold.
    """

    batches: tuple[Batch, ...]
    before: tuple[Any, ...]
    most: Fraction
    samples: int
    limit: Limit

    def turned_down(self, candidate: Variant) -> Trial | None:
        """The trial of a candidate that loses too much on these samples alone; None where it may do."""
        sign = 1 if self.limit.metric.higher_is_better else -1
        lost, seen = Fraction(0), 0
        for batch, before in zip(self.batches, self.before, strict=True):
            after = _scores(candidate, batch, self.limit)
            if not np.isfinite(after).all():
                return None  # which the whole evaluation judges
            lost += sign * sum(map(Fraction, (before - after).tolist()), Fraction(0))
            seen += len(before)
        if lost <= self.most:
            return None
        return Trial(False, float(lost / self.samples), seen)


def screen_of(variant: Variant, limit: Limit) -> Screen | None:
    """The samples that a variant scores worse or better than FP32; None where there is no score for
    each sample, where there are none such, or where they are too many to be worth it."""
    metric, own, fp32 = limit.metric, variant.evaluation, variant.fp32.evaluation
    if metric.name not in own.scores or metric.unit == "perplexity":
        return None
    differ = own.scores[metric.name] != fp32.scores[metric.name]
    marks = {sample[:16] for sample in fp32.samples[differ].tolist()}
    if not 0 < len(marks) <= min(MOST, len(own) // 2):
        return None
    with isolated(variant.conditions, loaders=(variant.subject.eval_data,)):
        batches = tuple(_joined(list(_picked(variant, marks))))
        try:
            before = tuple(_scores(variant.fp32, batch, limit) for batch in batches)
        except QuantStageError:
            return None
    allowed = Fraction(str(limit.max_drop)) * len(own)
    if limit.relative:
        allowed *= exact_mean(fp32.scores[metric.name])
    return Screen(batches, before, 2 * allowed + SLACK * len(own), len(own), limit)


def _picked(variant: Variant, marks: set[bytes]) -> Iterator[Batch]:
    """The rows of the eval data with these digests."""
    subject = variant.subject
    for batch in each_batch(subject.eval_data, "quant_eval_data"):
        raw, targets = unpack(batch, "quant_eval_data", subject.batch)
        inputs, size = on_cpu(raw), size_of(raw)
        found = [d.hex()[:16].encode() in marks for d in digests((inputs, targets), size)]
        rows = torch.tensor(found).nonzero()[:, 0]
        if len(rows):
            yield _rows((inputs, targets), rows, size)


def _rows(nest: Any, rows: Any, size: int) -> Any:
    return mapped(nest, lambda t: t[rows] if t.ndim and t.shape[0] == size else t)


def _joined(batches: list[Batch]) -> Iterator[Batch]:
    """Batches of alike samples as larger ones; others as they are."""
    while batches:
        group, count = [batches.pop(0)], 0
        while batches and count < CHUNK and _is_alike(group[0], batches[0]):
            count += size_of(batches[0])
            group.append(batches.pop(0))
        columns = zip(*(tensors_in(batch) for batch in group), strict=True)
        joined = iter([torch.cat(column) for column in columns])
        yield mapped(group[0], lambda _, joined=joined: next(joined))  # type: ignore[misc]


def _is_alike(one: Batch, other: Batch) -> bool:
    shapes = [
        [
            (t.shape[1:], t.dtype) if t.ndim and t.shape[0] == size_of(b) else None
            for t in tensors_in(b)
        ]
        for b in (one, other)
    ]
    return shapes[0] == shapes[1] and None not in shapes[0]


def _scores(variant: Variant, batch: Batch, limit: Limit) -> Any:
    inputs, targets = batch
    with variant.running():
        outputs = forward(variant.subject, variant.model, inputs, variant.name)
    scores = score(limit.metric, outputs, targets, size_of(inputs))
    if not isinstance(scores, np.ndarray):
        raise QuantStageError("evaluate", f"{limit.metric.name} has no score for each sample")
    return scores
