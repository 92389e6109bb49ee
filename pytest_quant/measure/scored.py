"""Scored: one batch of the eval data through a model, and what it gives."""

import math
from dataclasses import dataclass
from typing import Any

from pytest_quant.errors import QuantStageError
from pytest_quant.measure.finite import irregular
from pytest_quant.subject.answers import answers_of
from pytest_quant.subject.batches import described, on_cpu, size_of, unpack
from pytest_quant.subject.counted import check_samples
from pytest_quant.subject.digests import digests, sample_digests
from pytest_quant.subject.metrics import Metric
from pytest_quant.subject.scoring import score
from pytest_quant.subject.scratch import Scratch
from pytest_quant.subject.slices import names_of
from pytest_quant.subject.subject import Subject, forward
from pytest_quant.variant.evaluation import BatchScores, class_numbers
from pytest_quant.variant.variant import Variant


@dataclass(frozen=True, slots=True)
class Scoring:
    """What is needed to score batches, the model and the data apart.

    Args:
        subject: how the model is called, and a batch taken apart.
        metrics: that score.
        is_fp32: whether the baseline is scored, whose outputs have to be numbers.
        blamed: what to do where a variant cannot run on a batch that FP32 takes; None for FP32.
    """

    subject: Subject
    metrics: tuple[Metric, ...]
    is_fp32: bool
    blamed: str | None = None

    @classmethod
    def of(cls, variant: Variant) -> "Scoring":
        """That of a variant."""
        return cls(variant.subject, variant.admitted.metrics, variant.is_fp32, blamed(variant))

    @property
    def gathers(self) -> bool:
        """Whether a metric gathers outputs and targets itself."""
        return any(metric.is_accumulator for metric in self.metrics)


def blamed(variant: Variant) -> str | None:
    """What to do where a variant cannot run on inputs that FP32 takes; None for FP32."""
    if variant.recipe is None:
        return None
    if variant.recipe.kind == "custom":
        return "Let its build take whatever quant_model takes."
    if variant.recipe.kind == "artefact":
        return "Let the file take whatever quant_model takes."
    return "Take another flow, or let all batches have one shape."


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """What one batch of n samples gave.

    Args:
        scores: of its samples.
        labels: [n] int64; None where targets are no class numbers.
        outputs, targets: that the scores are of; None where they were left behind, since no metric
            gathers them.
        slices: [n] the name of each sample's slice; None where they are not named, as of all but FP32,
            with whose samples the others' are paired.
        answers: as `answers_of`; None where outputs are no answers.
    """

    scores: BatchScores
    labels: Any
    outputs: Any = None
    targets: Any = None
    slices: list[str | None] | None = None
    answers: Any = None


def score_batch(
    scoring: Scoring,
    model: Any,
    who: str,
    batch: Any,
    *,
    scratch: Scratch | None = None,
    whole: bool = False,
    number: int | None = None,
) -> ScoredBatch:
    """One batch through the model.

    Args:
        scoring: by which.
        model: to be run as it was built.
        who: the variant, for messages.
        batch: as the data yields it.
        scratch: of a pass of many batches, for the copies that the model is given.
        whole: whether outputs and targets are wanted in any case.
        number: of the batch in its pass, from 1 on, for messages; None where that is not known.

    Raises:
        QuantStageError: the model cannot run on it, or a metric not score it.
    """
    raw, targets = unpack(batch, "quant_eval_data", scoring.subject.batch)
    inputs = on_cpu(raw)
    check_samples(inputs, targets, number)
    outputs = forward(scoring.subject, model, inputs, who, scratch=scratch, blamed=scoring.blamed)
    scores = _scores(scoring, inputs, targets, outputs, who, number)
    slices, own = None, scoring.subject.slices
    if own is not None and scoring.is_fp32:
        slices = names_of(own, inputs, targets, size_of(inputs))
    kept = whole or scoring.gathers
    return ScoredBatch(
        scores,
        class_numbers(targets),
        outputs=outputs if kept else None,
        targets=targets if kept else None,
        slices=slices,
        answers=answers_of(outputs, targets, size_of(inputs)),
    )


def _scores(
    scoring: Scoring, inputs: Any, targets: Any, outputs: Any, who: str, number: int | None
) -> BatchScores:
    is_fp32, size = scoring.is_fp32, size_of(inputs)
    marks = irregular(outputs, size)
    if is_fp32 and any(mark.startswith(b"nan") for mark in marks):
        raise QuantStageError(
            "evaluate",
            "FP32's outputs contain NaN on quant_eval_data, so there is nothing to compare "
            f"with. {_why_nan(inputs, marks, number)}",
        )
    is_broken = not is_fp32 and any(marks)

    def scored(metric: Metric) -> Any:
        try:
            return _scored(metric, outputs, targets, size, is_broken)
        except QuantStageError as error:
            if is_fp32:
                raise
            said, is_of_form, _ = error.sentence.partition("; override quant_metric")
            remedy = "; let it give outputs of the form of quant_model's" if is_of_form else ""
            raise QuantStageError(
                error.stage,
                f"{who} gave {described(outputs)}, on which, as not on FP32's, {said}{remedy}",
            ) from error

    of_inputs, of_samples = sample_digests(inputs, targets, size)
    return BatchScores(
        samples=of_samples,
        inputs=of_inputs,
        outputs=digests(outputs, size),
        irregular=marks,
        scores={m.name: None if m.is_accumulator else scored(m) for m in scoring.metrics},
    )


def _why_nan(inputs: Any, marks: list[bytes], number: int | None) -> str:
    """What to look at where outputs are NaN: the inputs of these samples if they are no finite numbers."""
    own = irregular(inputs, len(marks))
    found = [i for i, mark in enumerate(marks) if mark.startswith(b"nan") and own[i]]
    if not found:
        return "Check the weights of quant_model and the scale of the inputs."
    which = "a batch" if number is None else f"batch {number}"
    samples = f"sample {found[0] + 1}" + (f" and {len(found) - 1} more" if found[1:] else "")
    if not own[found[0]].startswith(b"nan"):  # which may be a mask
        return f"Check the weights of quant_model, and the infinity in the inputs of {samples} of {which}."
    return f"The inputs hold NaN there: {samples} of {which}. Clean the data, or leave them out."


def _scored(metric: Metric, outputs: Any, targets: Any, size: int, is_broken: bool) -> Any:
    """The metric's scores; a mean of NaN when it cannot score outputs that are not finite where FP32's are,
    since those are the variant's failure and no error of the metric."""
    try:
        return score(metric, outputs, targets, size)
    except QuantStageError:
        if is_broken:
            return math.nan
        raise
