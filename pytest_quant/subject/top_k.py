"""Top-k: the share of positions whose target is among the k highest outputs."""

from dataclasses import dataclass
from typing import Any

from pytest_quant.subject.logits import logits_of, shape_of

ONE_OUTPUT = "Metric(lambda o, y: (o.flatten() > {threshold}) == (y.flatten() > 0.5), 'accuracy')"
LAST_AXIS = "Metric(lambda o, y: (o.argmax(-1) == y).double().flatten(1).mean(1), 'accuracy')"


@dataclass(frozen=True, slots=True)
class TopK:
    """A function of (outputs, targets) that scores each sample.

    Args:
        k: outputs that count as named.
        ignore_index: target of positions that do not count.
    """

    k: int
    ignore_index: int = -100

    def __call__(self, outputs: Any, targets: Any) -> Any:
        """[batch] scores in [0, 1]; NaN for a sample of which nothing counts.

        Raises:
            TypeError, ValueError: for outputs and targets of which every answer, or none, would be
                right.
        """
        import torch

        logits = logits_of(outputs)
        name = f"top-{self.k} accuracy"
        if not isinstance(logits, torch.Tensor) or logits.ndim < 2:
            raise TypeError(
                f"{name} needs outputs of shape [batch, classes], not {shape_of(logits)}; override "
                f"quant_metric for another kind of model{_of_one_output(logits, targets)}"
            )
        if logits.shape[1] == 1 and logits.ndim == 2:
            raise ValueError(
                f"{name} of one output for each sample, {shape_of(logits)}, names class 0 whatever the "
                f"model says; override quant_metric{_of_one_output(logits, targets)}"
            )
        expected = logits.shape[:1] + logits.shape[2:]
        if not isinstance(targets, torch.Tensor) or targets.shape != expected:
            raise TypeError(
                f"{name} of outputs {shape_of(logits)} needs targets of shape "
                f"{list(expected)} with class numbers, not {shape_of(targets)}; "
                f"{_remedy(logits, targets)}"
            )
        classes = logits.shape[1]
        if classes == 1:
            raise ValueError(
                f"{name} of one output for each sample, {shape_of(logits)}, names class 0 whatever the "
                "model says; override quant_metric"
            )
        if targets.is_floating_point() or targets.is_complex():
            raise TypeError(
                f"{name} needs class numbers as targets, not {targets.dtype}; override quant_metric for "
                "another kind of target, or let quant_batch give targets.long()"
            )
        if logits.is_complex() or logits.dtype in (
            torch.bool,
            torch.uint16,
            torch.uint32,
            torch.uint64,
        ):
            raise TypeError(
                f"{name} names the highest outputs, and these are {logits.dtype}; let quant_forward return "
                f"model(x).{'abs' if logits.is_complex() else 'float'}(), or override quant_metric"
            )
        if self.k >= classes:
            raise ValueError(
                f"{name} of {classes} classes is always right; k has to be below the number of classes: "
                f"Metric.top_k({max(1, min(self.k, classes - 1))})"
            )
        targets = targets.long()  # of uint8, -100 would be 156
        counted = targets != self.ignore_index
        strange = targets[counted & ((targets < 0) | (targets >= classes))]
        if len(strange):
            raise ValueError(
                f"{name} of {classes} classes was given the target {int(strange[0])}, which no answer "
                f"can be; if it marks what does not count, write Metric.top_k({self.k}, "
                f"ignore_index={int(strange[0])})"
            )
        hits = (self._best(logits) == targets.unsqueeze(1)).any(dim=1) & counted
        return _per_sample(hits) / _per_sample(counted)

    def _best(self, logits: Any) -> Any:
        """[batch, k, ...] the classes that are named.

        Outputs of int8 are often equal, and `topk` takes any of them; the first wins, as in `argmax`.
        """
        if self.k == 1:
            return logits.argmax(dim=1, keepdim=True)
        return logits.sort(dim=1, descending=True, stable=True).indices[:, : self.k]

    def uncounted(self, targets: Any) -> Any:
        """[batch] whether nothing of a sample counts."""
        return _per_sample(targets.long() != self.ignore_index) == 0

    def is_ambiguous(self, outputs: Any) -> bool:
        """Whether the classes could as well be on the last axis, since all axes are equally long."""
        shape = getattr(logits_of(outputs), "shape", ())
        return len(shape) > 2 and shape[1:-1] == shape[2:]


def _of_one_output(outputs: Any, targets: Any) -> str:
    """What to write for a classifier of two classes with one output, by whether that is a probability."""
    import torch

    if not isinstance(outputs, torch.Tensor) or not isinstance(targets, torch.Tensor):
        return ""
    if not outputs.is_floating_point() or outputs.numel() != targets.numel():
        return ""
    if not bool(((targets == 0) | (targets == 1)).all()):
        return ""
    is_probability = bool(((outputs >= 0) & (outputs <= 1)).all())
    what = "a probability" if is_probability else "a logit"
    return f": of {what}, with {ONE_OUTPUT.format(threshold=0.5 if is_probability else 0)}"


def _remedy(logits: Any, targets: Any) -> str:
    """What to override for outputs and targets that do not fit."""
    import torch

    if isinstance(targets, torch.Tensor) and logits.ndim > 2 and targets.shape == logits.shape[:-1]:
        return (
            "the classes seem to be on the last axis, and PyTorch's losses take them on axis 1: override "
            "quant_forward, as in lambda model, inputs: model(inputs).movedim(-1, 1)"
        )
    return "override quant_metric for another kind of target"


def _per_sample(marks: Any) -> Any:
    """[batch] how many positions of each sample are marked, as float64."""
    return marks.reshape(len(marks), -1).double().sum(dim=1)
