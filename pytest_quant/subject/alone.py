"""Alone: a sample has the same score alone as in a batch, or its score is none of its own."""

import warnings
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from pytest_quant.errors import QuantStageError
from pytest_quant.subject.logits import logits_of
from pytest_quant.subject.metrics import Metric
from pytest_quant.subject.probe import Probe
from pytest_quant.subject.samples import rows
from pytest_quant.subject.scoring import own

MOST = 8  # samples that are scored alone
MOST_CHANGE = 1e-2  # of the scores
SAME = 1e-4  # of a number for a batch, whose targets have changed places


def refuse_company(metric: Metric, probe: Probe) -> None:
    """Refuse scores of samples that depend on the rest of the batch, and one number for a batch that
    compares each output with every target, as broadcasting [n, 1] and [n] makes it.

    Other numbers for a batch may be of more than its samples one by one.

    Raises:
        QuantStageError: says what to write.
    """
    size = probe.sizes[0]
    if metric.is_accumulator or metric.is_ours or size < 2:
        return
    some = range(min(size, MOST))
    together = _scores(metric, probe, some)
    if together is None or not np.isfinite(together).all():
        return
    if together.size == 1:
        if _is_of_all_pairs(metric, probe, some, together):
            raise _refused(metric, "compares each output with every target", probe)
        return
    alone = [_scores(metric, probe, [place]) for place in some]
    if any(each is None or each.size != 1 for each in alone) or together.size != len(some):
        return
    singly = np.concatenate(alone)
    if not np.isfinite(singly).all() or _are_alike(singly, together):
        return
    place = int(np.abs(singly - together).argmax())
    raise _refused(
        metric,
        f"gives a sample {singly[place]:.4g} alone and {together[place]:.4g} in a batch of {len(some)}",
        probe,
    )


def _is_of_all_pairs(metric: Metric, probe: Probe, some: Sequence[int], together: Any) -> bool:
    """Whether it is all the same which target is whose, though the shapes broadcast and targets differ."""
    outputs, targets = (_shape(each) for each in (_logits(probe), probe.targets[0]))
    if outputs == targets or not prod(outputs) == prod(targets) > 1:
        return False
    rolled = [*some[1:], some[0]]
    values = np.asarray(rows(probe.targets[0], some, probe.sizes[0]), dtype=float).reshape(
        len(some), -1
    )
    if (values == values[0]).all():
        return False
    other = _scores(metric, probe, some, rolled)
    return other is not None and other.size == 1 and np.allclose(together, other, SAME, 0)


def _refused(metric: Metric, found: str, probe: Probe) -> QuantStageError:
    outputs, targets = (_shape(each) for each in (_logits(probe), probe.targets[0]))
    why = (
        "A mean, a softmax or a sort along axis 0 does that. Score each sample by itself; for a metric of "
        "the whole set give an object with update, compute and reset."
    )
    if outputs != targets and prod(outputs) == prod(targets):
        why = (
            f"Outputs {list(outputs)} and targets {list(targets)} broadcast. Write "
            "targets.reshape(outputs.shape)."
        )
    return QuantStageError("evaluate", f"metric {metric.name} {found}. {why}")


def _are_alike(ones: Any, others: Any) -> bool:
    return np.allclose(ones, others, MOST_CHANGE, MOST_CHANGE * float(np.abs(ones).max()))


def _scores(
    metric: Metric, probe: Probe, places: Sequence[int], of_targets: Sequence[int] | None = None
) -> Any:
    """Of some samples of the first batch, [samples] or [1]; None where it cannot score these.

    Args:
        of_targets: the places of the targets, where these are other ones.
    """
    size = probe.sizes[0]
    outputs = rows(probe.outputs[0], places, size)
    targets = rows(probe.targets[0], places if of_targets is None else of_targets, size)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            given = metric.fn(own(outputs), own(targets))
        given = given.detach().double().cpu() if hasattr(given, "detach") else given
        return np.asarray(given, dtype=float).reshape(-1)
    except Exception:
        return None


def _logits(probe: Probe) -> Any:
    try:
        return logits_of(probe.outputs[0])
    except Exception:
        return probe.outputs[0]


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(getattr(value, "shape", ()))
