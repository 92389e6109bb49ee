"""Alone: a sample has the same score alone as in a batch, or its score is none of its own."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from pytest_quant.errors import QuantStageError
from pytest_quant.subject.logits import logits_of
from pytest_quant.subject.metrics import Metric
from pytest_quant.subject.probe import Probe, Scored
from pytest_quant.subject.samples import rows

FEWEST = 4  # samples in a batch that is cut in two
MOST = 8  # samples that are scored alone
MOST_CHANGE = 1e-2  # of the scores
SAME = 1e-4  # of a number for a batch, whose targets have changed places
# Of a number for a batch, which as a mean is that of its halves, but for half precision.
MEAN = 1e-3


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
    part = _part(probe, some)
    together = part.tried(metric)
    if together is None:
        return
    if len(together.each) == 1:
        if _is_of_all_pairs(metric, part, together):
            raise _refused(metric, "compares each output with every target", probe)
        return
    alone = [_part(probe, [place]).tried(metric) for place in some]
    singly = np.array([each.value for each in alone if each is not None])
    if len(singly) < len(some) or _are_alike(singly, together.each):
        return
    place = int(np.abs(singly - together.each).argmax())
    scores = f"{singly[place]:.4g} alone and {together.each[place]:.4g} in a batch of {len(some)}"
    raise _refused(metric, f"gives a sample {scores}", probe)


def told_of_batches(metric: Metric, probe: Probe) -> list[str]:
    """A note on one number for a batch that is no mean over samples, as F1, a correlation or the root of a
    mean: then the mean over batches is not the metric of the whole set."""
    size = probe.sizes[0]
    if metric.is_accumulator or metric.is_ours or size < FEWEST:
        return []
    halves = [range(size // 2), range(size // 2, size)]
    whole, *parts = [_part(probe, each).tried(metric) for each in (range(size), *halves)]
    if whole is None or len(whole.each) > 1 or not all(parts):
        return []
    mean = (
        sum(part.value * len(half) for part, half in zip(parts, halves, strict=True) if part) / size
    )
    if abs(mean - whole.value) <= MEAN * abs(whole.value):
        return []
    return [
        f"{metric.name} gives one number for a batch, and is no mean over samples: FP32 has "
        f"{whole.value:.4g} on a batch of {size}, and {mean:.4g} where that is cut in two. What is judged "
        "is the mean over batches; for the whole set give an object with update, compute and reset"
    ]


def _part(probe: Probe, places: Sequence[int]) -> Probe:
    """Some samples of the first batch."""
    size = probe.sizes[0]
    outputs, targets = (rows(each[0], places, size) for each in (probe.outputs, probe.targets))
    return Probe((outputs,), (targets,), (len(places),))


def _is_of_all_pairs(metric: Metric, probe: Probe, real: Scored) -> bool:
    """Whether it is all the same which target is whose, though the shapes broadcast and targets differ."""
    outputs, targets = _shapes(probe)
    if outputs == targets or not prod(outputs) == prod(targets) > 1 or probe.kinds < 2:
        return False
    size = probe.sizes[0]
    rolled = probe.tried(metric, targets=[rows(probe.targets[0], [*range(1, size), 0], size)])
    return rolled is not None and bool(np.isclose(real.value, rolled.value, SAME, 0))


def _refused(metric: Metric, found: str, probe: Probe) -> QuantStageError:
    outputs, targets = _shapes(probe)
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


def _shapes(probe: Probe) -> tuple[tuple[int, ...], ...]:
    """Of the first batch's outputs and targets; empty for what has none."""
    first = logits_of(probe.outputs[0]), probe.targets[0]
    return tuple(tuple(getattr(each, "shape", ())) for each in first)
