"""Perplexity: the negative log likelihood of a sample, and what its mean is for a person."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from pytest_quant.subject.batches import tensors_in
from pytest_quant.subject.logits import logits_of, shape_of


@dataclass(frozen=True, slots=True)
class Nll:
    """A function of (outputs, targets) that scores each sample by its mean negative log likelihood.

    Args:
        ignore_index: target of positions that do not count.
        shift: by how many positions the outputs are ahead of their targets; None: not said, which is
            taken for 0.
    """

    ignore_index: int
    shift: int | None = None

    def __call__(self, outputs: Any, targets: Any) -> Any:
        """[batch] nats; NaN for a sample of which no position counts.

        Raises:
            TypeError: for outputs of another shape.
        """
        import torch

        logits = logits_of(outputs)
        if not isinstance(logits, torch.Tensor) or logits.ndim != 3:
            raise TypeError(
                f"perplexity needs outputs of shape [batch, positions, classes], not {shape_of(logits)}"
            )
        targets = targets.long()
        if targets.shape != logits.shape[:2]:
            raise TypeError(
                f"perplexity of outputs {shape_of(logits)} needs targets of shape "
                f"{list(logits.shape[:2])}, not {shape_of(targets)}"
            )
        targets, ahead = self._shifted(targets), self.shift or 0
        losses = torch.nn.functional.cross_entropy(
            logits[:, : logits.shape[1] - ahead].double().transpose(1, 2),
            targets,
            reduction="none",
            ignore_index=self.ignore_index,
        )
        return losses.sum(dim=1) / (targets != self.ignore_index).sum(dim=1)

    def uncounted(self, targets: Any) -> Any:
        """[batch] whether no position of a sample counts."""
        return (self._shifted(targets.long()) == self.ignore_index).all(dim=1)

    def copies(self, inputs: Any, targets: Any) -> bool:
        """Whether the targets that count are the inputs themselves, which are to be predicted one
        position ahead."""
        import torch

        if not isinstance(targets, torch.Tensor):
            return False
        counted = targets != self.ignore_index
        return bool(counted.any()) and any(
            tensor.shape == targets.shape
            and not tensor.is_floating_point()
            and bool((tensor == targets)[counted].all())
            for tensor in tensors_in(inputs)
        )

    def _shifted(self, targets: Any) -> Any:
        return targets[:, self.shift or 0 :]


def perplexity_of(nats: float | Fraction) -> float:
    """``exp`` of a mean in nats; infinite where no float is that large, from about 709 nats on."""
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf


def rise_of(nats: float | Fraction) -> float:
    """The share by which perplexity rises when the mean rises by this much; infinite as above."""
    try:
        return math.expm1(nats)
    except OverflowError:
        return math.inf
