"""Trust: what a metric has to show on FP32's outputs before anything is judged by it.

Its direction and unit (see `direction`), its memory (the same outputs have the same score, whatever was
scored in between), and what our own metrics would take wrongly.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from pytest_quant.errors import QuantStageError
from pytest_quant.subject.alone import refuse_company, told_of_batches
from pytest_quant.subject.direction import with_direction_and_unit
from pytest_quant.subject.metrics import Metric
from pytest_quant.subject.perplexity import Nll
from pytest_quant.subject.probe import Probe, Scored
from pytest_quant.subject.samples import rows
from pytest_quant.subject.scoring import own
from pytest_quant.subject.top_k import LAST_AXIS, TopK

ENOUGH, MOST = 64, 256  # samples
MOST_BATCHES = 64
MOST_BYTES = 64 * 10**6  # of outputs
MOST_CHANGE = 1e-4  # of a score, for the same outputs


def trusted(metric: Metric, probe: Probe, inputs: Any) -> tuple[Metric, list[str]]:
    """The metric with its direction and unit, and what a reader should know of these.

    Args:
        metric: as the user gave it.
        probe: FP32's outputs.
        inputs: of the probe's first batch.

    Raises:
        QuantStageError: for a metric that must not be trusted; says what to write.
    """
    real = probe.scored(metric)
    _refuse_scores_of_classes(metric, probe)
    notes: list[str] = []
    if metric.is_ours:
        _refuse_other_axis(metric, probe)
        _refuse_unshifted(metric, probe, inputs)
    else:
        metric, notes = with_direction_and_unit(metric, probe, real)
    refuse_memory([metric], probe, [real])
    refuse_company(metric, probe)
    return metric, [*notes, *told_of_batches(metric, probe)]


def enough(probe: Probe, metrics: Iterable[Metric]) -> bool:
    """Whether further batches would tell no more about these metrics, or cost too much."""
    if len(probe.sizes) >= MOST_BATCHES or len(probe) >= MOST or probe.bytes > MOST_BYTES:
        return True
    if any(isinstance(m.fn, TopK) and m.fn.is_ambiguous(probe.outputs[-1]) for m in metrics):
        return False
    return all(m.is_ours for m in metrics) or (len(probe) >= ENOUGH and probe.kinds > 1)


def refuse_memory(metrics: Iterable[Metric], probe: Probe, before: Iterable[Scored]) -> None:
    """Refuse a metric that gives another number than before for the same outputs.

    Raises:
        QuantStageError: naming it.
    """
    for metric, one in zip(metrics, before, strict=True):
        other = probe.scored(metric)
        if one.each.shape != other.each.shape or not np.allclose(
            one.each, other.each, MOST_CHANGE, 1e-9, equal_nan=True
        ):
            raise QuantStageError(
                "evaluate",
                f"metric {metric.name} gives another number for the same outputs when it is asked again: "
                "it remembers earlier batches, or is random. Return the scores of this batch alone, or "
                "give an object with update, compute and a reset that forgets all.",
            )


def _refuse_scores_of_classes(metric: Metric, probe: Probe) -> None:
    """Refuse a list of other things than samples that is as long as the batch by coincidence."""
    size = probe.sizes[0]
    if metric.is_accumulator or metric.is_ours or size < 2:
        return
    fewer = range(size - 1)
    outputs, targets = (rows(each, fewer, size) for each in (probe.outputs[0], probe.targets[0]))
    given, again = (_given(metric.fn, *pair) for pair in (
        (probe.outputs[0], probe.targets[0]), (outputs, targets)))  # fmt: skip
    if given == (size,) and again == (size,):
        raise QuantStageError(
            "evaluate",
            f"metric {metric.name} returned {size} values for {size} samples, and {size} values for "
            f"{size - 1} of them: they are no scores of samples (of classes, perhaps). Return one score "
            "for each sample, shape [batch], or one number: their mean.",
        )


def _given(fn: Callable[..., Any], outputs: Any, targets: Any) -> tuple[int, ...] | None:
    """The shape of what a function returns; None where it cannot score these."""
    try:
        given = fn(own(outputs), own(targets))
    except Exception:
        return None
    if isinstance(given, list | tuple):
        return (len(given),)
    return tuple(getattr(given, "shape", ()))


def _refuse_other_axis(metric: Metric, probe: Probe) -> None:
    if isinstance(metric.fn, TopK) and all(map(metric.fn.is_ambiguous, probe.outputs)):
        raise QuantStageError(
            "evaluate",
            f"{metric.name} takes axis 1 of outputs [batch, classes, ...] for the classes, and these "
            "outputs have as many classes as positions, so that the last axis could be meant as well. "
            f"Override quant_metric: {LAST_AXIS} where the classes are last, "
            f"{LAST_AXIS.replace('argmax(-1)', 'argmax(1)')} where they are not.",
        )


def _refuse_unshifted(metric: Metric, probe: Probe, inputs: Any) -> None:
    nll = metric.fn
    if isinstance(nll, Nll) and nll.shift is None and nll.copies(inputs, probe.targets[0]):
        raise QuantStageError(
            "evaluate",
            "the targets of quant_eval_data are its inputs, and Metric.perplexity does not shift them by "
            "itself: write Metric.perplexity(shift=1) for a causal language model, whose outputs predict "
            "the next token, or shift=0 where each position predicts its own.",
        )
