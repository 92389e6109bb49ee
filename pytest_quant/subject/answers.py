"""Answers: what a model says of each sample, as far as its outputs name a class or give one number."""

from typing import Any

import numpy as np

from pytest_quant.subject.logits import as_tensor, logits_of

CLASS, OUTPUT, LEAD = range(3)  # columns


def answers_of(outputs: Any, targets: Any, size: int) -> "np.ndarray[Any, Any] | None":
    """[size, 3] float64: the class with the highest output, that output, and by how much it is above the
    output of the target's class, 0 where it is that class; NaN for what there is none of.

    Args:
        outputs: of shape [size, classes]; or [size] or [size, 1], which name no class. None for others.
        targets: class numbers, or anything else, which no output is held against.
        size: samples.
    """
    import torch

    logits, targets = logits_of(outputs), as_tensor(targets)
    if (
        not isinstance(logits, torch.Tensor)
        or logits.is_complex()
        or not logits.is_floating_point()
    ):
        return None
    if logits.ndim not in (1, 2) or len(logits) != size or not logits.numel():
        return None
    values = logits.detach().double().cpu().reshape(size, -1)
    found = np.full((size, 3), np.nan)
    best, which = values.max(dim=1)
    found[:, OUTPUT] = best.numpy()
    if values.shape[1] == 1:
        return found
    found[:, CLASS] = which.numpy()
    if (
        isinstance(targets, torch.Tensor)
        and targets.shape == (size,)
        and not (targets.is_floating_point() or targets.is_complex())
    ):
        labels = targets.cpu().long()
        is_class = (labels >= 0) & (labels < values.shape[1])
        own = values.gather(1, labels.clamp(0, values.shape[1] - 1)[:, None])[:, 0]
        found[:, LEAD] = torch.where(is_class, best - own, torch.nan).numpy()
    return found
