"""Probe: some samples at the door, on which metrics are tried with other targets and other outputs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pytest_quant.errors import QuantStageError
from pytest_quant.subject.digests import digests
from pytest_quant.subject.logits import logits_of
from pytest_quant.subject.metrics import Metric
from pytest_quant.subject.samples import arrays_in, joined, rebuilt, rows
from pytest_quant.subject.scoring import computed, fresh, gather, score

PERMUTATIONS = 10
CONSTANTS = 4  # samples whose target is given to all
FAR = 1000.0  # times, and with the other sign: outputs that no model would give

Targets = Sequence[Any]


@dataclass(frozen=True, slots=True)
class Scored:
    """What a metric gave on all batches of a probe.

    Args:
        value: of all samples.
        each: the scores of the samples, of the batches, or the value alone.
    """

    value: float
    each: np.ndarray[Any, Any]

    def is_same(self, other: "Scored | None") -> bool:
        """Whether another scoring gave the same value, but for rounding."""
        return other is not None and _is_close(self.value, other.value)

    def is_same_for_each(self, other: "Scored | None") -> bool:
        """Whether another scoring gave the same to each sample, but for rounding."""
        return (
            other is not None
            and self.each.shape == other.each.shape
            and bool(_is_close(self.each, other.each).all())
        )


@dataclass(frozen=True, eq=False)
class Probe:
    """Batches of samples with FP32's outputs.

    Args:
        outputs, targets: of each batch.
        sizes: samples of each.
    """

    outputs: tuple[Any, ...]
    targets: tuple[Any, ...]
    sizes: tuple[int, ...]

    def __len__(self) -> int:
        return sum(self.sizes)

    def with_batch(self, outputs: Any, targets: Any, size: int) -> "Probe":
        """The same and one more batch."""
        return Probe((*self.outputs, outputs), (*self.targets, targets), (*self.sizes, size))

    @property
    def bytes(self) -> int:
        """Of all outputs."""
        return sum(int(leaf.nbytes) for leaf in arrays_in(self.outputs))

    @cached_property
    def kinds(self) -> int:
        """How many different targets there are."""
        pairs = zip(self.targets, self.sizes, strict=True)
        return len({digest for each, size in pairs for digest in digests(each, size)})

    @property
    def has_targets(self) -> bool:
        """Whether there are any; there are none where all are None, or a dict of None."""
        return not all(map(_is_nothing, self.targets))

    def scored(self, metric: Metric, outputs: Any = None, targets: Targets | None = None) -> Scored:
        """What the metric makes of it, or of other outputs and targets.

        Raises:
            QuantStageError: when the metric fails.
        """
        given = zip(
            self.outputs if outputs is None else outputs,
            self.targets if targets is None else targets,
            self.sizes,
            strict=True,
        )
        if metric.is_accumulator:
            accumulator = fresh(metric)
            for each in given:
                gather(metric, accumulator, *each[:2])
            value = computed(metric, accumulator)
            return Scored(value, np.array([value]))
        parts = [score(metric, *each) for each in given]
        counts = [np.count_nonzero(~np.isnan(part)) if np.ndim(part) else n
                  for part, n in zip(parts, self.sizes, strict=True)]  # fmt: skip
        means = [np.nansum(part) if np.ndim(part) else part * n
                 for part, n in zip(parts, counts, strict=True)]  # fmt: skip
        value = float(sum(means) / sum(counts)) if sum(counts) else float("nan")
        return Scored(value, np.concatenate([np.atleast_1d(part) for part in parts]))

    def tried(self, metric: Metric, outputs: Any = None, targets: Any = None) -> Scored | None:
        """The same of what may be beyond the metric; None then."""
        import warnings

        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                return self.scored(metric, outputs, targets)
        except QuantStageError:
            return None

    def permuted(self) -> Iterator[Targets]:
        """The targets of other samples, several times; nothing where these are not told apart."""
        random = np.random.default_rng(0)
        for _ in range(PERMUTATIONS):
            if (targets := self._drawn(random.permutation)) is not None:
                yield targets

    def constant(self) -> Iterator[Targets]:
        """The target of one sample for all, several times; nothing where these are not told apart."""
        for one in np.linspace(0, len(self) - 1, min(CONSTANTS, len(self))).astype(int):
            if self._whole is not None:
                yield self._split([int(one)] * len(self))

    def far(self) -> tuple[Any, ...] | None:
        """Outputs of the other sign, far away; None where there are neither floating-point
        nor complex outputs."""
        return _far(self.outputs)

    def unrelated(self) -> tuple[Any, ...]:
        """Outputs of which each tensor belongs to other samples than the next one; whole numbers are 0."""
        return _unrelated(self.outputs)

    def far_targets(self) -> Iterator[Targets]:
        """Such targets; nothing where these are neither floating-point nor complex numbers."""
        if (targets := _far(self.targets)) is not None:
            yield targets

    def right(self) -> tuple[Any, ...] | None:
        """Outputs that are right: the targets as such, or as logits; None where neither fits."""
        import torch

        given = []
        for outputs, targets in zip(self.outputs, self.targets, strict=True):
            if not isinstance(outputs, torch.Tensor) or not isinstance(targets, torch.Tensor):
                return None
            if outputs.shape == targets.shape:
                is_narrower = targets.is_complex() and not outputs.is_complex()
                given.append((targets.real if is_narrower else targets).to(outputs.dtype))
            elif (
                outputs.ndim == 2
                and targets.shape == outputs.shape[:1]
                and not (targets.is_floating_point() or targets.is_complex())
                and 0 <= int(targets.long().min()) <= int(targets.long().max()) < outputs.shape[1]
            ):
                hot = torch.nn.functional.one_hot(targets.long(), outputs.shape[1])
                given.append(hot.to(outputs.dtype) * FAR)
            else:
                return None
        return tuple(given)

    def is_skilled(self) -> bool | None:
        """Whether FP32's outputs fit their own targets better than those of other samples; None where
        that cannot be said, by these samples or without the metric."""
        own = self._fit(self.targets)
        fits = [self._fit(targets) for targets in self.permuted()]
        others = [each for each in fits if each is not None]
        if own is None or not others or self.kinds < 2:
            return None
        if own <= float(np.mean(others) + np.std(others)):
            return False
        return True if own > float(np.mean(others) + 2 * np.std(others)) else None

    def _fit(self, targets: Targets) -> float | None:
        fits = [_fit(*each) for each in zip(self.outputs, targets, strict=True)]
        known = [each for each in fits if each is not None]
        return None if len(known) < len(fits) else float(np.average(known, weights=self.sizes))

    @cached_property
    def _whole(self) -> Any:
        try:
            return joined(self.targets, self.sizes)
        except (ValueError, KeyError, AttributeError, TypeError):
            return None

    def _drawn(self, permutation: Callable[[int], Any]) -> Targets | None:
        if self._whole is not None:
            return self._split(permutation(len(self)).tolist())
        pairs = zip(self.targets, self.sizes, strict=True)
        if max(self.sizes) < 2:
            return None
        return [rows(each, permutation(size).tolist(), size) for each, size in pairs]

    def _split(self, order: list[int]) -> Targets:
        ends = np.cumsum(self.sizes).tolist()
        return [
            rows(self._whole, order[end - size : end], len(self))
            for end, size in zip(ends, self.sizes, strict=True)
        ]


def _is_nothing(targets: Any) -> bool:
    if isinstance(targets, Mapping):
        targets = list(targets.values())
    if isinstance(targets, list | tuple):
        return all(map(_is_nothing, targets))
    return targets is None


def _far(values: Sequence[Any]) -> tuple[Any, ...] | None:
    changed = []

    def move(leaf: Any) -> Any:
        is_continuous = (
            leaf.dtype.kind in "fc"
            if isinstance(leaf, np.ndarray)
            else leaf.is_floating_point() or leaf.is_complex()
        )
        changed.append(is_continuous)
        return -FAR * leaf - FAR if is_continuous else leaf

    moved = tuple(rebuilt(each, move) for each in values)
    return moved if any(changed) else None


def _unrelated(values: Sequence[Any]) -> tuple[Any, ...]:
    import torch

    place = 0

    def change(leaf: Any) -> Any:
        nonlocal place
        place += 1
        array = isinstance(leaf, np.ndarray)
        if (
            leaf.dtype.kind in "biu"
            if array
            else not (leaf.is_floating_point() or leaf.is_complex())
        ):
            return 0 * leaf
        if not leaf.ndim:
            return leaf + place
        return np.roll(leaf, place, 0) if array else torch.roll(leaf, place, 0)

    return tuple(rebuilt(each, change) for each in values)


def _fit(outputs: Any, targets: Any) -> float | None:
    """How well outputs fit targets: the share of right classes, or the negative squared error, which
    other targets change by the covariance alone; None for others."""
    import torch

    logits = logits_of(outputs)
    if not isinstance(logits, torch.Tensor) or not isinstance(targets, torch.Tensor):
        return None
    is_real = targets.is_floating_point() or targets.is_complex()
    logits, targets = _wide(logits), _wide(targets)
    if logits.numel() == targets.numel():
        return -float((logits - targets.reshape(logits.shape)).abs().square().mean())
    if is_real or logits.is_complex():
        return None
    if logits.ndim > 1 and targets.shape == logits.shape[:1] + logits.shape[2:]:
        return float((logits.argmax(1) == targets).double().mean())
    if logits.ndim > 1 and targets.shape == logits.shape[:-1]:
        return float((logits.argmax(-1) == targets).double().mean())
    return None


def _wide(tensor: Any) -> Any:
    """As float64 or complex128, in which all types can be subtracted and compared: truth values and
    unsigned integers cannot by themselves."""
    import torch

    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)


def _is_close(one: Any, other: Any) -> Any:
    with np.errstate(invalid="ignore"):
        near = np.abs(one - other) <= 1e-6 * np.maximum(np.abs(one), 1e-6)
    return near | (np.isnan(one) & np.isnan(other))
