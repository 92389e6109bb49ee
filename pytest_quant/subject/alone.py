"""Alone: a sample has the same score alone as in a batch, or its score is none of its own."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from pytest_quant.errors import QuantStageError
from pytest_quant.subject.metrics import Metric
from pytest_quant.subject.probe import Probe
from pytest_quant.subject.samples import rows
from pytest_quant.subject.scoring import own

MOST = 8  # samples that are scored alone
MOST_CHANGE = 1e-2  # of the scores


def refuse_company(metric: Metric, probe: Probe) -> None:
    """Refuse scores of samples that depend on the rest of the batch, and a mean over all pairs of an output
    and a target, which broadcasting [n, 1] and [n] makes.

    A batch's mean is compared in that case only: it may be of more than its samples one by one.

    Raises:
        QuantStageError: with both scores of the sample that differs most, and what to write.
    """
    size = probe.sizes[0]
    if metric.is_accumulator or metric.is_ours or size < 2:
        return
    shapes = _shape(probe.outputs[0]), _shape(probe.targets[0])
    is_broadcast = shapes[0] != shapes[1] and prod(shapes[0]) == prod(shapes[1]) > 1
    some = range(min(size, MOST))
    together = _scores(metric, probe, some)
    alone = [_scores(metric, probe, [place]) for place in some]
    if together is None or any(each is None or each.size != 1 for each in alone):
        return
    singly = np.concatenate(alone)
    if together.size == 1 and is_broadcast:
        singly = singly.mean(keepdims=True)
    elif together.shape != singly.shape:
        return
    if not np.isfinite(singly).all():
        return
    scale = float(np.abs(singly).max())
    if np.allclose(singly, together, MOST_CHANGE, MOST_CHANGE * scale):
        return
    place = int(np.abs(singly - together).argmax())
    why = (
        "A mean, a softmax or a sort along axis 0 does that. Score each sample by itself; for a metric of "
        "the whole set give an object with update, compute and reset."
    )
    if is_broadcast:
        why = (
            f"Outputs {list(shapes[0])} and targets {list(shapes[1])} broadcast, so that each output is "
            "compared with every target. Write targets.reshape(outputs.shape)."
        )
    raise QuantStageError(
        "evaluate",
        f"metric {metric.name} gives a sample {singly[place]:.4g} alone and {together[place]:.4g} in a "
        f"batch of {len(some)}. {why}",
    )


def _scores(metric: Metric, probe: Probe, places: Sequence[int]) -> Any:
    """Of some samples of the first batch, [samples] or [1]; None where it cannot score these."""
    size = probe.sizes[0]
    outputs, targets = (rows(each[0], places, size) for each in (probe.outputs, probe.targets))
    try:
        given = metric.fn(own(outputs), own(targets))
        given = given.detach().cpu() if hasattr(given, "detach") else given
        return np.asarray(given, dtype=float).reshape(-1)
    except Exception:
        return None


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(getattr(value, "shape", ()))
