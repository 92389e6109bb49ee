"""Accuracy: a map over batches to per-sample scores, which are merged and paired by sample."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from pytest_quant.errors import QuantStageError
from pytest_quant.machine.conditions import Conditions
from pytest_quant.measure.conversion_gap import note_conversion_gap
from pytest_quant.measure.overlap import refuse_overlap
from pytest_quant.measure.scored import ScoredBatch, Scoring, score_batch
from pytest_quant.subject.batches import count_of, each_batch
from pytest_quant.subject.metrics import Metric
from pytest_quant.subject.positives import Precision, Recall
from pytest_quant.subject.probe import Probe
from pytest_quant.subject.score_range import out_of_range, refused_range
from pytest_quant.subject.scoring import computed, fresh, gather
from pytest_quant.subject.scratch import Scratch
from pytest_quant.subject.trust import refuse_memory
from pytest_quant.variant.evaluation import Evaluation, Gathered, counted
from pytest_quant.variant.variant import Variant

# Scores a variant's batches, by the model given, in the order of the data.
Spreading = Callable[[Variant, Any, str], Iterator[ScoredBatch]]

# The model before conversion, whose pass takes 15 times as long, is judged by nobody: it only says how near
# the conversion came, and that some hundred samples say too.
FAKE_QUANTIZED_SECONDS = 5.0


def evaluate(
    variant: Variant, conditions: Conditions, spread: Spreading | None = None
) -> Evaluation:
    """One pass of the variant over the eval data, paired with FP32's pass.

    Args:
        variant: to be evaluated.
        conditions: under which.
        spread: scores batches on other processes, or says why it cannot; None for this process.

    Raises:
        QuantStageError: when the data, the model or the metric fails; when the samples of this pass
            are not FP32's; when the model was tuned on samples of the eval data.
    """
    with variant.isolated((variant.subject.eval_data,)):
        variant.refuse_moved_fp32()
        with _fp32_first(variant):
            own = _one_pass(variant, variant.model, variant.name, conditions, spread)
        before = None
        if variant.fake_quantized is not None:
            stage = f"{variant.name} (fake-quantized)"
            before = _one_pass(
                variant,
                variant.fake_quantized,
                stage,
                conditions,
                seconds=FAKE_QUANTIZED_SECONDS,
            )
    if variant.is_fp32:
        return own
    fp32 = variant.fp32.evaluation
    if not np.array_equal(own.samples, fp32.samples):
        other = len(set(own.samples.tolist()) - set(fp32.samples.tolist()))
        raise QuantStageError(
            "evaluate",
            f"quant_eval_data yields other samples on each pass: {other} of {len(own)} of "
            f"{variant.name}'s were not among FP32's {len(fp32)}. Remove random augmentation and "
            f"sampling from the eval data; mere shuffling is fine{_unless_dropped(variant)}.",
        )
    _refuse_unscored(variant, own)
    refuse_overlap(variant, own.inputs)
    if before is None:
        return own
    note_conversion_gap(variant, own, before)
    return replace(own, fake_quantized=before.values) if len(before) == len(own) else own


@contextmanager
def _fp32_first(variant: Variant) -> Iterator[None]:
    """In which data that FP32 cannot take either are told of FP32, whatever a variant makes of them."""
    try:
        yield
    except QuantStageError:
        if not variant.is_fp32:
            _ = variant.fp32.evaluation
        raise


def _one_pass(
    variant: Variant,
    model: Any,
    who: str,
    conditions: Conditions,
    spread: Spreading | None = None,
    seconds: float = math.inf,
) -> Evaluation:
    """All batches, or the first ones until `seconds` are over."""
    subject, metrics = variant.subject, variant.admitted.metrics
    accumulators = [(metric, fresh(metric)) for metric in metrics if metric.is_accumulator]
    gathered = Gathered(metrics)
    first: Probe | None = None
    batches = here(variant, model, who) if spread is None else spread(variant, model, who)
    with (
        variant.timed("evaluate"),
        variant.running(),
        conditions.progress(
            f"evaluate {subject.label} {who}",
            count_of(subject.eval_data, "quant_eval_data", subject.batch),
            "batches",
        ) as advance,
    ):
        end = time.monotonic() + seconds
        for batch in batches:
            if variant.is_fp32 and first is None and batch.outputs is not None:
                size = len(batch.scores.samples)
                first = Probe((batch.outputs,), (batch.targets,), (size,))
                known = [first.scored(metric) for metric in metrics]
            gathered.add(batch.scores, batch.labels, batch.slices, batch.answers)
            for metric, accumulator in accumulators:
                gather(metric, accumulator, batch.outputs, batch.targets)
            advance(1)
            if time.monotonic() > end:
                break
    if not len(gathered):
        raise QuantStageError(
            "evaluate",
            f"quant_eval_data yielded nothing for {who}, though it had batches before; FP32 and each "
            "variant need a pass of their own. Return a DataLoader over a Dataset, or a list.",
        )
    if first is not None:
        refuse_memory(metrics, first, known)
    is_broken = not variant.is_fp32 and gathered.is_irregular
    values = {m.name: _computed(m, accumulator, is_broken) for m, accumulator in accumulators}
    whole = gathered.evaluation(values)
    if variant.is_fp32:
        _refuse_values(variant, whole)
    return whole


def _unless_dropped(variant: Variant) -> str:
    """Of a loader that leaves out its last batch, which is another one after each shuffling."""
    if not getattr(variant.subject.eval_data, "drop_last", False):
        return ""
    return ", but not together with drop_last=True, which leaves out other samples each time"


def here(variant: Variant, model: Any, who: str) -> Iterator[ScoredBatch]:
    """Each batch's scores, by this process. Outputs of the first batch of FP32 are wanted besides."""
    subject, scoring = variant.subject, Scoring.of(variant)
    wanted, scratch = variant.is_fp32, Scratch()
    for number, batch in enumerate(
        each_batch(subject.eval_data, "quant_eval_data", subject.batch), 1
    ):
        yield score_batch(scoring, model, who, batch, scratch=scratch, whole=wanted, number=number)
        wanted = False


def _refuse_values(variant: Variant, fp32: Evaluation) -> None:
    """FP32's scores have to be what the metric's unit says, and some samples have to have one."""
    for metric in variant.admitted.metrics:
        scores = fp32.scores.get(metric.name)
        unscored = 0 if scores is None else len(scores) - len(counted(scores))
        _refuse_without_positives(metric, fp32)
        if unscored == len(fp32):
            raise QuantStageError(
                "evaluate",
                f"no sample of quant_eval_data has a target that counts for metric {metric.name}; all "
                f"are {metric.fn.ignore_index}.",
            )
        if unscored and isinstance(metric.fn, Recall):
            variant.notes.append(
                f"{metric.name} is of the {len(fp32) - unscored:,} positive samples of {len(fp32):,}"
            )
        elif unscored:
            variant.notes.append(
                f"{unscored:,} of {len(fp32):,} samples have no target that counts for {metric.name}, "
                "so they have no score"
            )
        if (strange := out_of_range(metric, fp32.known(metric.name))) is not None:
            raise refused_range(metric, strange)


def _refuse_without_positives(metric: Metric, fp32: Evaluation) -> None:
    """Recall needs positive samples, and precision samples that FP32 finds."""
    if isinstance(metric.fn, Recall) and not len(fp32.known(metric.name)):
        what = f"no sample of quant_eval_data is positive, target {metric.fn.naming.positive}"
    elif isinstance(metric.fn, Precision) and not fp32.values[metric.name]:
        what = (
            "FP32 names no sample positive that is, so either quant_eval_data has no positive samples, "
            f"target {metric.fn.naming.positive}, or it finds none"
        )
    else:
        return
    raise QuantStageError(
        "evaluate",
        f"{metric.name} says nothing here: {what}. Put positive samples into quant_eval_data, or say "
        "which class or threshold is meant in quant_metric.",
    )


def _computed(metric: Metric, accumulator: Any, is_broken: bool) -> float:
    try:
        return computed(metric, accumulator)
    except QuantStageError:
        if is_broken:
            return float("nan")
        raise


def _refuse_unscored(variant: Variant, own: Evaluation) -> None:
    """A metric that cannot score outputs is excused only where these are the variant's failure."""
    if not np.array_equal(own.irregular, variant.fp32.evaluation.irregular):
        return
    for name, value in own.values.items():
        if not math.isfinite(value):
            raise QuantStageError(
                "evaluate",
                f"metric {name} has no score for {variant.name}, whose outputs are infinite where "
                "FP32's are and nowhere else; it must take such outputs.",
            )
