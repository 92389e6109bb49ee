"""Positives: which samples a model names positive, and which are: recall and precision."""

import math
from dataclasses import dataclass
from typing import Any

from pytest_quant.subject.logits import as_tensor, logits_of, shape_of

LEFT_OUT = -100  # no class: the target that PyTorch's losses leave out


@dataclass(frozen=True, slots=True)
class Naming:
    """How outputs name a sample positive: by the highest of several, or by one that reaches a threshold.

    Args:
        positive: the class that is to be found; 1 with a threshold.
        threshold: that the one output of a positive sample reaches, in the unit of the outputs; None
            where each class has an output.
    """

    positive: int = 1
    threshold: float | None = None

    def __post_init__(self) -> None:
        given = self.positive
        if isinstance(given, bool) or not isinstance(given, int) or given < 0:
            raise ValueError(f"positive is {given!r}; expected a class number of at least 0")
        limit = self.threshold
        if limit is None:
            return
        if (
            isinstance(limit, bool)
            or not isinstance(limit, int | float)
            or not math.isfinite(limit)
        ):
            raise ValueError(
                f"threshold is {limit!r}; expected a number in the unit of the outputs"
            )

    def named(self, outputs: Any, targets: Any) -> tuple[Any, Any]:
        """[batch] whether a sample is named positive, and [batch] whether it is; what counts as neither,
        whose target is -100, is left out of both.

        Raises:
            TypeError, ValueError: for outputs and targets of another shape or kind.
        """
        import torch

        logits, targets = logits_of(outputs), as_tensor(targets)
        if not isinstance(logits, torch.Tensor) or not isinstance(targets, torch.Tensor):
            raise TypeError(
                f"a tensor of outputs and one of targets are needed, not {shape_of(logits)} and "
                f"{shape_of(targets)}"
            )
        given = self._by_class(logits) if self.threshold is None else self._by_threshold(logits)
        are = self.are_positive(targets)
        if given.shape != are.shape:
            raise TypeError(
                f"outputs of {shape_of(logits)} need a target for each sample, not {shape_of(targets)}; "
                "override quant_metric for another kind of target"
            )
        counted = _flat(targets) != LEFT_OUT
        return given & counted, are & counted

    def are_positive(self, targets: Any) -> Any:
        """[batch] whether a sample is positive.

        Raises:
            TypeError, ValueError: for targets that are no class numbers.
        """
        import torch

        flat = _flat(as_tensor(targets))
        if flat.ndim != 1 or flat.is_complex():
            raise TypeError(f"targets need one class number a sample, not {shape_of(targets)}")
        if self.threshold is None:
            if flat.is_floating_point():
                raise TypeError(
                    f"class numbers are needed as targets, not {flat.dtype}; let quant_batch give "
                    "targets.long()"
                )
            return flat.long() == self.positive
        strange = flat[(flat != 0) & (flat != 1) & (flat != LEFT_OUT)]
        if len(strange):
            raise ValueError(
                f"0 and 1 are needed as targets where one output is held against a threshold, and "
                f"{strange[0].item():g} was given"
            )
        return torch.as_tensor(flat == 1)

    def _by_class(self, logits: Any) -> Any:
        if logits.ndim != 2 or logits.shape[1] < 2:
            raise TypeError(
                f"outputs of shape [batch, classes] are needed, not {shape_of(logits)}; of one output a "
                "sample say from which value on it is positive: Metric.recall_at(0.5) or "
                "Metric.precision_at(0.5) of probabilities, 0.0 of logits"
            )
        if self.positive >= logits.shape[1]:
            raise ValueError(
                f"positive is {self.positive}, and outputs have {logits.shape[1]} classes, from 0 to "
                f"{logits.shape[1] - 1}"
            )
        return logits.argmax(dim=1) == self.positive

    def _by_threshold(self, logits: Any) -> Any:
        flat = _flat(logits)
        if flat.ndim != 1:
            raise TypeError(
                f"one output a sample is needed, of shape [batch] or [batch, 1], not {shape_of(logits)}; "
                "where each class has one, Metric.recall(positive=1) or Metric.precision(positive=1) take "
                "the highest"
            )
        return flat >= self.threshold


@dataclass(frozen=True, slots=True)
class Recall:
    """A function of (outputs, targets) that scores the samples that are positive: 1 where it is found."""

    naming: Naming

    def __call__(self, outputs: Any, targets: Any) -> Any:
        """[batch] 1 or 0; NaN for a sample that is not positive.

        Raises:
            TypeError, ValueError: as `Naming.named`.
        """
        named, are = self.naming.named(outputs, targets)
        scores = named.double()
        scores[~are] = float("nan")
        return scores

    def uncounted(self, targets: Any) -> Any:
        """[batch] whether a sample is not positive."""
        return ~self.naming.are_positive(targets)


class Precision:
    """Gathers how many samples are named positive, and how many of these are.

    It is a ratio of two counts that both depend on the model, and so of no sample by itself.
    """

    def __init__(self, naming: Naming) -> None:
        self.naming = naming
        self.hits = self.claims = 0

    def update(self, outputs: Any, targets: Any) -> None:
        """One more batch.

        Raises:
            TypeError, ValueError: as `Naming.named`.
        """
        named, are = self.naming.named(outputs, targets)
        self.hits += int((named & are).sum())
        self.claims += int(named.sum())

    def compute(self) -> float:
        """The share of those named positive that are; 0 where none is named."""
        return self.hits / self.claims if self.claims else 0.0

    def reset(self) -> None:
        """Forget all batches."""
        self.hits = self.claims = 0


def _flat(values: Any) -> Any:
    """[batch] of [batch, 1]."""
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
