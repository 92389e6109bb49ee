"""Evaluation: the scores of one pass over the eval data, merged and ordered by sample."""

import hashlib
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pytest_quant.subject.logits import as_tensor
from pytest_quant.subject.metrics import Metric

MARK = 16  # hex digits of a sample's digest that tell it apart
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
        which_input: [n] int64, equal for samples of equal inputs.
        outputs, irregular: [n], as in `BatchScores`.
        scores: metric name -> [n] float64, for metrics that score each sample; NaN for a sample of which
            nothing counts.
        values: metric name -> value on the whole set.
        majority_rate: share of the commonest class, when targets are class numbers.
        fake_quantized: QAT: metric name -> value before conversion; None where that took too long.
        labels: [n] int64, the class of each sample; None when targets are no class numbers.
        slices: of FP32: [n] int64, each the index of a name, -1 for a sample in no slice; None where
            nobody names slices.
        slice_names: of the slices.
        answers: [n, 3] float64, what the model says of each sample, as `answers_of` gives it; None where
            its outputs are no answers.
        passed: a digest of all samples in the order of the pass, and of the batches' sizes.
    """

    samples: np.ndarray[Any, Any]
    order: np.ndarray[Any, Any]
    inputs: frozenset[bytes]
    which_input: np.ndarray[Any, Any]
    outputs: np.ndarray[Any, Any]
    irregular: np.ndarray[Any, Any]
    scores: dict[str, np.ndarray[Any, Any]]
    values: dict[str, float]
    majority_rate: float | None
    fake_quantized: dict[str, float] | None = None
    labels: np.ndarray[Any, Any] | None = None
    passed: bytes = b""
    slices: np.ndarray[Any, Any] | None = None
    slice_names: tuple[str, ...] = ()
    answers: np.ndarray[Any, Any] | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def known(self, metric: str) -> np.ndarray[Any, Any]:
        """A metric's scores of the samples that have one, else its one value: float64."""
        scores = self.scores.get(metric)
        return np.array([self.values[metric]]) if scores is None else counted(scores)


class Passed:
    """What tells one pass over data from another one: its samples, their order, and the batches' sizes."""

    def __init__(self) -> None:
        self._digest = hashlib.blake2b(digest_size=16)

    def add(self, samples: list[bytes]) -> None:
        """One more batch, by the digests of its samples."""
        self._digest.update(len(samples).to_bytes(8, "little") + b"".join(samples))

    def digest(self) -> bytes:
        """16 bytes, of what was added so far."""
        return self._digest.digest()


class Gathered:
    """What the batches of a pass give, one after the other, as one Evaluation at the end.

    Nothing of a batch is kept as an object of its own: between the large tensors that come and go, small
    ones that stay would cut the heap into pieces, so that memory grows with every batch.
    """

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._scores = {m.name: array("d") for m in metrics if not m.is_accumulator}
        self._means = {name: array("d") for name in self._scores}
        self._sizes = array("q")
        self._passed = Passed()
        self._samples: list[bytes] = []
        self._outputs: list[bytes] = []
        self._irregular: list[bytes] = []
        self._inputs: dict[bytes, int] = {}
        self._which_input = array("q")
        self._labels = array("q")
        self._slices = array("q")
        self._slice_names: dict[str, int] = {}
        self._answers = array("d")

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def is_irregular(self) -> bool:
        """Whether outputs of any sample were not finite."""
        return any(self._irregular)

    def add(
        self,
        batch: BatchScores,
        labels: "np.ndarray[Any, Any] | None" = None,
        slices: Iterable[str | None] | None = None,
        answers: "np.ndarray[Any, Any] | None" = None,
    ) -> None:
        """One more batch; `labels` are its classes, `slices` the names of its slices and `answers` what
        the model says, in its order."""
        self._sizes.append(len(batch.samples))
        self._passed.add(batch.samples)
        self._samples.extend(batch.samples)
        self._outputs.extend(batch.outputs)
        self._irregular.extend(batch.irregular)
        for each in batch.inputs:
            self._which_input.append(self._inputs.setdefault(each, len(self._inputs)))
        for name, scores in self._scores.items():
            given = batch.scores[name]
            if isinstance(given, np.ndarray):
                scores.frombytes(given.astype(np.float64).tobytes())
            self._means[name].append(float(np.mean(given)))
        if labels is not None:
            self._labels.frombytes(labels.astype(np.int64).tobytes())
        if answers is not None:
            self._answers.frombytes(answers.tobytes())
        names = self._slice_names
        for slice_ in () if slices is None else slices:
            self._slices.append(-1 if slice_ is None else names.setdefault(slice_, len(names)))

    def evaluation(self, computed: dict[str, float]) -> Evaluation:
        """All batches, with the values of the metrics that gather batches themselves."""
        samples = np.array(numbered(self._samples), dtype="S24")
        order = np.argsort(samples, kind="stable")
        answers = np.array(self._answers).reshape(-1, 3)
        labels = np.array(self._labels) if len(self._labels) == len(self) > 0 else None
        scores: dict[str, np.ndarray[Any, Any]] = {}
        values = dict(computed)
        for name, given in self._scores.items():
            if len(given) == len(self):
                scores[name] = np.array(given)[order]
                some = counted(scores[name])
                values[name] = float(some.mean()) if len(some) else float("nan")
            else:
                sizes = np.array(self._sizes)
                values[name] = float((np.array(self._means[name]) * sizes).sum() / sizes.sum())
        return Evaluation(
            samples=samples[order],
            order=order,
            inputs=frozenset(self._inputs),
            which_input=np.array(self._which_input)[order],
            outputs=np.array(self._outputs, dtype="S16")[order],
            irregular=np.array(self._irregular, dtype="S24")[order],
            scores=scores,
            values=values,
            majority_rate=majority_rate(labels),
            labels=None if labels is None else labels[order],
            passed=self._passed.digest(),
            slices=np.array(self._slices)[order] if len(self._slices) == len(self) > 0 else None,
            slice_names=tuple(self._slice_names),
            answers=answers[order] if len(answers) == len(self) > 0 else None,
        )


def merged(
    batches: Iterable[BatchScores], metrics: Iterable[Metric], computed: dict[str, float]
) -> Evaluation:
    """Batches as one Evaluation."""
    gathered = Gathered(metrics)
    for batch in batches:
        gathered.add(batch)
    return gathered.evaluation(computed)


def counted(scores: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """Those of samples of which something counts."""
    some: np.ndarray[Any, Any] = scores[~np.isnan(scores)]
    return some


def flipped(own: Evaluation, fp32: Evaluation, metric: str) -> list[int]:
    """Positions, in FP32's pass, of the samples whose score differs from FP32's."""
    a, b = own.scores[metric], fp32.scores[metric]
    return sorted(fp32.order[(a != b) & ~(np.isnan(a) & np.isnan(b))].tolist())


def has_flips(metric: Metric) -> bool:
    """Whether it says something that a sample's score differs: of a loss or an error every one does."""
    return metric.unit in ("fraction", None)


def worst_change(own: Evaluation, fp32: Evaluation, metric: Metric) -> float | None:
    """By how much the score of the one sample is worse that lost most; 0 where none lost; None without."""
    a, b = own.scores.get(metric.name), fp32.scores.get(metric.name)
    if a is None or b is None:
        return None
    lost = counted(b - a if metric.higher_is_better else a - b)
    return float(lost.max(initial=0.0)) if np.isfinite(lost).all() else None


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
        marked.append(sample.hex()[:MARK].encode() + b"%08x" % count)
    return marked


def class_numbers(targets: Any) -> "np.ndarray[Any, Any] | None":
    """The targets of a batch as [n] int64; None when they are no classes."""
    targets = as_tensor(targets)
    if getattr(targets, "ndim", 0) != 1 or targets.is_floating_point() or targets.is_complex():
        return None
    numbers: np.ndarray[Any, Any] = targets.cpu().numpy().astype(np.int64)
    return numbers


def majority_rate(labels: "np.ndarray[Any, Any] | None") -> float | None:
    """Share of the commonest class."""
    labels = None if labels is None else labels[labels != IGNORED]
    if labels is None or not len(labels):
        return None
    _, counts = np.unique(labels, return_counts=True)
    return float(counts.max() / counts.sum())
