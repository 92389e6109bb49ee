"""Evaluation: the scores of one pass over the eval data, merged and ordered by sample."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pytest_quant.subject.metrics import Metric

IGNORED = -100  # no class: the target that PyTorch's losses leave out


@dataclass(frozen=True, slots=True, eq=False)
class BatchScores:
    """What one batch of n samples gave; batches merge in any order.

    Args:
        samples: [n] digests of inputs and target.
        inputs: [n] digests of the inputs alone.
        outputs: [n] digests of the outputs.
        irregular: [n] digests of where outputs are infinite; empty bytes where all are finite.
        scores: for each metric [n] float64, NaN for a sample of which nothing counts; or the batch's
            mean, NaN where the outputs could not be scored; or None (accumulators).
    """

    samples: list[bytes]
    inputs: list[bytes]
    outputs: list[bytes]
    irregular: list[bytes]
    scores: dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Scores of one model on the eval data, ordered by sample.

    Args:
        samples: [n] digests of inputs and target, sorted; repeated samples are numbered.
        order: [n] the position of each in the pass.
        inputs: digests of the inputs.
        outputs, irregular: [n], as in `BatchScores`.
        scores: metric name -> [n] float64, for metrics that score each sample; NaN for a sample of which
            nothing counts.
        values: metric name -> value on the whole set.
        majority_rate: share of the commonest class, when targets are class numbers.
        fake_quantized: QAT: metric name -> value before conversion.
        labels: [n] int64, the class of each sample; None when targets are no class numbers.
    """

    samples: np.ndarray[Any, Any]
    order: np.ndarray[Any, Any]
    inputs: frozenset[bytes]
    outputs: np.ndarray[Any, Any]
    irregular: np.ndarray[Any, Any]
    scores: dict[str, np.ndarray[Any, Any]]
    values: dict[str, float]
    majority_rate: float | None
    fake_quantized: dict[str, float] | None = None
    labels: np.ndarray[Any, Any] | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def known(self, metric: str) -> np.ndarray[Any, Any]:
        """A metric's scores of the samples that have one, else its one value: float64."""
        scores = self.scores.get(metric)
        return np.array([self.values[metric]]) if scores is None else counted(scores)


def merged(
    batches: list[BatchScores],
    metrics: Iterable[Metric],
    computed: dict[str, float],
    labels: "np.ndarray[Any, Any] | None" = None,
) -> Evaluation:
    """All batches as one Evaluation; `labels` are the classes in the order of the pass."""
    samples = numbered([sample for batch in batches for sample in batch.samples])
    order = np.argsort(np.array(samples, dtype="S24"), kind="stable")
    scores: dict[str, np.ndarray[Any, Any]] = {}
    values = dict(computed)
    sizes = np.array([len(batch.samples) for batch in batches])
    for metric in metrics:
        parts = [batch.scores[metric.name] for batch in batches]
        if metric.is_accumulator:
            continue
        if all(isinstance(part, np.ndarray) for part in parts):
            scores[metric.name] = np.concatenate(parts)[order]
            some = counted(scores[metric.name])
            values[metric.name] = float(some.mean()) if len(some) else float("nan")
        else:
            means = np.array([float(np.mean(part)) for part in parts])
            values[metric.name] = float((means * sizes).sum() / sizes.sum())
    return Evaluation(
        samples=np.array(samples, dtype="S24")[order],
        order=order,
        inputs=frozenset(digest for batch in batches for digest in batch.inputs),
        outputs=np.array([d for batch in batches for d in batch.outputs], dtype="S16")[order],
        irregular=np.array([d for batch in batches for d in batch.irregular], dtype="S24")[order],
        scores=scores,
        values=values,
        majority_rate=majority_rate(labels),
        labels=None if labels is None else labels[order],
    )


def counted(scores: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """Those of samples of which something counts."""
    some: np.ndarray[Any, Any] = scores[~np.isnan(scores)]
    return some


def flipped(own: Evaluation, fp32: Evaluation, metric: str) -> list[int]:
    """Positions, in FP32's pass, of the samples whose score differs from FP32's."""
    a, b = own.scores[metric], fp32.scores[metric]
    return sorted(fp32.order[(a != b) & ~(np.isnan(a) & np.isnan(b))].tolist())


def by_class(
    own: Evaluation, fp32: Evaluation, metric: Metric
) -> list[tuple[int, int, float, float]]:
    """For each class its label, its samples, the mean score, and how much worse that is than FP32's.

    In the order of the labels; empty when targets are no class numbers, when the metric does not
    score each sample, and when a score is no number.
    """
    scores, before = own.scores.get(metric.name), fp32.scores.get(metric.name)
    if own.labels is None or scores is None or before is None:
        return []
    scored = ~np.isnan(before) & (own.labels != IGNORED)
    scores, before = scores[scored], before[scored]
    if not np.isfinite(scores).all():
        return []
    labels, index, counts = np.unique(own.labels[scored], return_inverse=True, return_counts=True)
    means = np.bincount(index, scores) / counts
    drops = np.bincount(index, before - scores) / counts
    if not metric.higher_is_better:
        drops = -drops
    return list(
        zip(labels.tolist(), counts.tolist(), means.tolist(), (drops + 0.0).tolist(), strict=True)
    )


def numbered(samples: list[bytes]) -> list[bytes]:
    """Each digest with how often it came before, so that repeated samples stay apart."""
    seen: dict[bytes, int] = {}
    marked = []
    for sample in samples:
        count = seen.get(sample, 0)
        seen[sample] = count + 1
        # hex, because NumPy's byte strings lose trailing zeros
        marked.append(sample.hex()[:16].encode() + b"%08x" % count)
    return marked


def class_numbers(targets: list[Any]) -> "np.ndarray[Any, Any] | None":
    """The targets of all batches as [n] int64, in the order of the pass; None when they are no classes."""
    import torch

    if not targets or not all(
        isinstance(part, torch.Tensor)
        and part.ndim == 1
        and not (part.is_floating_point() or part.is_complex())
        for part in targets
    ):
        return None
    numbers: np.ndarray[Any, Any] = torch.cat(targets).cpu().numpy().astype(np.int64)
    return numbers


def majority_rate(labels: "np.ndarray[Any, Any] | None") -> float | None:
    """Share of the commonest class."""
    labels = None if labels is None else labels[labels != IGNORED]
    if labels is None or not len(labels):
        return None
    _, counts = np.unique(labels, return_counts=True)
    return float(counts.max() / counts.sum())
