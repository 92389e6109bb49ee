"""Hard samples: the samples that a failing variant scores otherwise than FP32, to judge candidates cheaply.

A candidate that still loses far too many of just these does not hold the limit, whatever little it may
gain among the others, and only one that gets past them is worth a pass over all samples. Of a large
eval set a random part of the others stands for them all, and there is no such pass: what the search
comes to is built and judged on every sample.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from pytest_quant.errors import QuantStageError
from pytest_quant.explain.remedies.drop_limit import DropLimit
from pytest_quant.explain.remedies.limit import Trial
from pytest_quant.judge.exact_mean import exact_mean
from pytest_quant.subject.batches import each_batch, mapped, on_cpu, size_of, tensors_in, unpack
from pytest_quant.subject.digests import sample_digests
from pytest_quant.subject.scoring import score
from pytest_quant.subject.subject import forward
from pytest_quant.variant.variant import Variant

MOST = 512  # samples of either sort
LARGE = (
    2000  # samples; of a smaller eval set candidates that get past the screen are evaluated whole
)
SLACK = Fraction(1, 200)  # of all samples, beside the allowed drop once more: what others may gain
CHUNK = 64  # samples of one forward
Batch = tuple[Any, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Some samples that stand for more.

    Args:
        batches: inputs and targets.
        before: FP32's scores, one array for each batch.
        weight: how many samples each stands for.
    """

    batches: tuple[Batch, ...]
    before: tuple[Any, ...]
    weight: Fraction

    def lost(self, candidate: Variant, limit: DropLimit) -> Fraction | None:
        """How much a candidate loses on all that these stand for; None for scores that are no numbers."""
        sign, lost = 1 if limit.metric.higher_is_better else -1, Fraction(0)
        for batch, before in zip(self.batches, self.before, strict=True):
            after = _scores(candidate, batch, limit)
            if not np.isfinite(after).all():
                return None
            lost += sign * sum(map(Fraction, (before - after).tolist()), Fraction(0))
        return lost * self.weight

    def __len__(self) -> int:
        return sum(len(before) for before in self.before)


@dataclass(frozen=True, slots=True, eq=False)
class HardSamples:
    """Samples to judge candidates on.

    Args:
        hard: those that the failing variant scores otherwise than FP32.
        others: of a large eval set some of the rest; None of a small one.
        allowed: what may be lost in sum over the whole eval set.
        samples: of the whole eval set.
        base: what a drop is a share of: FP32's value where the limit is relative, else 1.
        limit: that candidates are to hold.
    """

    hard: Part
    others: Part | None
    allowed: Fraction
    samples: int
    base: Fraction
    limit: DropLimit

    def trial(self, candidate: Variant) -> Trial | None:
        """What these samples say of a candidate; None where only the whole eval set can tell."""
        lost = self.hard.lost(candidate, self.limit)
        if lost is None:
            return None
        if lost > 2 * self.allowed + SLACK * self.samples:
            return self._said(lost, len(self.hard))
        if self.others is None:
            return None
        more = self.others.lost(candidate, self.limit)
        return None if more is None else self._said(lost + more, len(self.hard) + len(self.others))

    def _said(self, lost: Fraction, seen: int) -> Trial:
        drop = lost / self.samples
        return Trial(lost <= self.allowed, float(drop / self.base if self.base else drop), seen)


def hard_samples_of(variant: Variant, limit: DropLimit) -> HardSamples | None:
    """The screen of a failing variant; None where its metric does not score each sample, or where
    nothing can be told apart."""
    metric, own, fp32 = limit.metric, variant.evaluation, variant.fp32.evaluation
    if metric.name not in own.scores or metric.unit == "perplexity":
        return None
    if np.isnan(own.scores[metric.name]).any():  # some samples have no score
        return None
    differ = own.scores[metric.name] != fp32.scores[metric.name]
    hard, others = _marks(fp32.samples[differ]), _marks(fp32.samples[~differ])
    is_large = len(own) > LARGE
    if not len(hard) or not (is_large or len(hard) <= min(MOST, len(own) // 2)):
        return None
    chosen = {"hard": hard[:MOST], "others": others[:MOST] if is_large else []}
    parts: dict[str, Part | None] = {}
    with variant.isolated((variant.subject.eval_data,)):
        found = _picked(variant, {mark: name for name, marks in chosen.items() for mark in marks})
        for name, of in (("hard", int(differ.sum())), ("others", int((~differ).sum()))):
            batches = tuple(_joined(found.get(name, [])))
            try:
                before = tuple(_scores(variant.fp32, batch, limit) for batch in batches)
            except QuantStageError:
                return None
            seen = sum(map(len, before))
            parts[name] = Part(batches, before, Fraction(of, seen)) if seen else None
    if parts["hard"] is None:
        return None
    base = exact_mean(fp32.scores[metric.name]) if limit.relative else Fraction(1)
    allowed = Fraction(str(limit.most)) * len(own) * base
    return HardSamples(parts["hard"], parts["others"], allowed, len(own), base, limit)


def _marks(samples: Any) -> list[bytes]:
    """Digests, in their order, which is as good as random."""
    return list(dict.fromkeys(sample[:16] for sample in samples.tolist()))


def _picked(variant: Variant, names: dict[bytes, str]) -> dict[str, list[Batch]]:
    """Rows of the eval data, by the name that their digests have."""
    subject = variant.subject
    found: dict[str, list[Batch]] = {}
    for batch in each_batch(subject.eval_data, "quant_eval_data", subject.batch):
        raw, targets = unpack(batch, "quant_eval_data", subject.batch)
        inputs, size = on_cpu(raw), size_of(raw)
        called = [
            names.get(d.hex()[:16].encode()) for d in sample_digests(inputs, targets, size)[1]
        ]
        for name in {name for name in called if name}:
            rows = torch.tensor([own == name for own in called]).nonzero()[:, 0]
            found.setdefault(name, []).append(_rows((inputs, targets), rows, size))
    return found


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


def _scores(variant: Variant, batch: Batch, limit: DropLimit) -> Any:
    inputs, targets = batch
    with variant.running():
        outputs = forward(variant.subject, variant.model, inputs, variant.name)
    scores = score(limit.metric, outputs, targets, size_of(inputs))
    if not isinstance(scores, np.ndarray):
        raise QuantStageError("evaluate", f"{limit.metric.name} has no score for each sample")
    return scores
