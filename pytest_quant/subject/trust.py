"""Trust: what a metric has to show on FP32's outputs before anything is judged by it.

Its direction, where the user does not say it: FP32 is scored against the targets of other samples too.
A score that falls then is higher-is-better, one that rises lower-is-better, and one that stays as it is
measures nothing. Its range: values that are shown as per cent lie in [0, 1]. Its memory: the same
outputs have the same score, whatever was scored in between.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from pytest_quant.errors import QuantStageError
from pytest_quant.subject.metrics import Metric
from pytest_quant.subject.perplexity import Nll
from pytest_quant.subject.probe import PERMUTATIONS, Probe, Scored
from pytest_quant.subject.samples import rows
from pytest_quant.subject.scoring import own
from pytest_quant.subject.top_k import LAST_AXIS, TopK

ENOUGH, MOST = 64, 256  # samples
MOST_BATCHES = 64
MOST_BYTES = 64 * 10**6  # of outputs
PROVEN = 5.0  # standard deviations of the permuted scores: by chance in one of a thousand metrics
FARTHER = 100.0  # no accuracy, not even in per cent, moves by so much
MOST_CHANGE = 1e-4  # of a score, for the same outputs
ROUNDING = 1e-6
LOSSES = re.compile(
    r"loss|entropy|error|nll|(^|[^a-z])(mse|mae|rmse|mape|wer|cer|bce|ce)([^a-z]|$)|perplex|distance",
    re.IGNORECASE,
)


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
        metric, notes = _with_direction_and_unit(metric, probe, real)
    refuse_memory([metric], probe, [real])
    return metric, notes


def enough(probe: Probe, metrics: Iterable[Metric]) -> bool:
    """Whether further batches would tell no more about these metrics, or cost too much."""
    if len(probe.sizes) >= MOST_BATCHES or len(probe) >= MOST or probe.bytes > MOST_BYTES:
        return True
    if any(isinstance(m.fn, TopK) and m.fn.is_ambiguous(probe.outputs[-1]) for m in metrics):
        return False
    return all(m.is_ours for m in metrics) or (len(probe) >= ENOUGH and probe.kinds > 1)


def out_of_range(metric: Metric, values: "np.ndarray[Any, Any]") -> float | None:
    """A value that a metric in fractions cannot have; None where there is none."""
    if metric.unit not in ("fraction", None):
        return None
    strange = values[(values < -ROUNDING) | (values > 1 + ROUNDING)]
    return float(strange[np.abs(strange).argmax()]) if len(strange) else None


def refused_range(metric: Metric, value: float) -> QuantStageError:
    """FP32's value is none of what the metric's unit says."""
    percent = "; divide a percentage by 100" if 1 < value <= 100 else ""
    direction = "" if metric.higher_is_better is not False else "higher_is_better=False, "
    return QuantStageError(
        "evaluate",
        f"metric {metric.name} is {value:.4g} on FP32, and a metric in fractions lies in [0, 1]{percent}, "
        f"or say the unit: Metric(..., {metric.name!r}, {direction}unit='raw').",
    )


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


def _with_direction_and_unit(
    metric: Metric, probe: Probe, real: Scored
) -> tuple[Metric, list[str]]:
    others = [probe.tried(metric, targets=targets) for targets in probe.permuted()]
    known = [each for each in others if each is not None] if probe.kinds > 1 else []
    _refuse_blind(metric, probe, real, known)
    is_skilled = probe.is_skilled()
    name, said, is_unit_open = metric.name, metric.higher_is_better, metric.unit is None
    notes: list[str] = []
    if metric.unit == "perplexity":
        said = False
    proven = None if is_skilled is False else _measured(real, known, PROVEN)
    if None not in (said, proven) and said != proven:
        raise QuantStageError(
            "evaluate",
            f"metric {name} is said to have higher_is_better={said}, but on FP32 it is "
            f"{real.value:.4g}, and against the targets of other samples {_span(known)}, which would be "
            f"better. Write Metric(..., {name!r}, higher_is_better={proven}), or look whether targets "
            "and inputs belong together.",
        )
    if said is None:
        said, notes = _unsaid(metric, probe, real, known, is_skilled)
    unit = metric.unit or ("fraction" if said else "raw")
    metric = replace(metric, higher_is_better=said, unit=unit)
    if (value := out_of_range(metric, real.each)) is not None:
        raise refused_range(metric, value)
    if is_unit_open and _leaves_range(metric, probe, known):
        metric = replace(metric, unit="raw")
    return metric, notes


def _unsaid(
    metric: Metric, probe: Probe, real: Scored, known: list[Scored], is_skilled: bool | None
) -> tuple[bool, list[str]]:
    """The direction where the user says none, and a note where it needs one.

    It is what the targets of other samples show, by more than chance unless FP32 is known to fit its
    own; else what outputs show that no model would give. FP32 that is no better than chance shows
    nothing.
    """
    name = metric.name
    ask = f"Metric(..., {name!r}, higher_is_better=False) for a loss, True for an accuracy"
    lower = f"lower {name} is better, as measured: FP32 has {real.value:.4g}, and against"
    spoiled = None
    if is_skilled is not False:
        measured = _measured(real, known, 0.0 if is_skilled else PROVEN)
        if measured is not None:
            told = f"{lower} the targets of other samples {_span(known)}"
            return measured, [] if measured else [told]
        far = probe.far()
        spoiled = None if far is None else probe.tried(metric, outputs=far)
    if spoiled is not None and spoiled.value - real.value > FARTHER * max(1.0, abs(real.value)):
        return False, [f"{lower} outputs far away {spoiled.value:.4g}"]
    if spoiled is not None and spoiled.value < real.value and not spoiled.is_same(real):
        return True, []
    is_fraction = out_of_range(metric, real.each) is None
    if (
        (spoiled is not None and spoiled.value > real.value)
        or LOSSES.search(name)
        or not is_fraction
    ):
        raise QuantStageError(
            "evaluate",
            f"whether higher or lower {name} is better cannot be measured on the first {len(probe)} "
            f"samples of quant_eval_data, and it may be a loss. Write {ask}.",
        )
    return True, [
        f"whether higher or lower {name} is better is not known, since FP32 scores about the same "
        f"against the targets of other samples; higher is taken for better. Write {ask}"
    ]


def _measured(real: Scored, others: list[Scored], deviations: float) -> bool | None:
    """Whether higher is better, since all the targets of other samples score worse, by so many standard
    deviations at least; None where they do not."""
    if len(others) < PERMUTATIONS or any(each.is_same(real) for each in others):
        return None
    values = np.array([each.value for each in others])
    if abs(real.value - float(values.mean())) < deviations * float(values.std()):
        return None
    if (values < real.value).all():
        return True
    return False if (values > real.value).all() else None


def _refuse_blind(metric: Metric, probe: Probe, real: Scored, others: list[Scored]) -> None:
    """Refuse a metric that gives the same whatever the outputs, or whatever the targets, are."""
    if not others or not all(each.is_same(real) for each in others):
        return
    far = probe.far()
    if far is not None and real.is_same(probe.tried(metric, outputs=far)):
        right = probe.right()
        is_blind = (
            real.value != 0 if right is None else real.is_same(probe.tried(metric, outputs=right))
        )
        if is_blind:
            raise QuantStageError(
                "evaluate",
                f"metric {metric.name} is blind: it is {real.value:.4g} whatever the outputs are, so a "
                "destroyed model would lose nothing. Override quant_metric with one that compares "
                "outputs with targets.",
            )
    if metric.higher_is_better is None and all(
        real.is_same_for_each(probe.tried(metric, targets=targets))
        for targets in [*probe.permuted(), *probe.constant(), *probe.far_targets()]
    ):
        raise QuantStageError(
            "evaluate",
            f"metric {metric.name} is blind to the targets: it is {real.value:.4g} whatever they are, so "
            "which way is better cannot be measured. Compare outputs with targets, or write "
            f"Metric(..., {metric.name!r}, higher_is_better=True or False).",
        )


def _leaves_range(metric: Metric, probe: Probe, others: list[Scored]) -> bool:
    """Whether some outputs are worth more than 1 or less than 0, as R2 is below 0 for bad ones."""
    import torch

    tried: list[Scored | None] = list(others)
    is_regression = all(
        isinstance(each, torch.Tensor) and each.is_floating_point() for each in probe.targets
    )
    if is_regression and (far := probe.far()) is not None:
        tried.append(probe.tried(metric, outputs=far))
    return any(each is not None and out_of_range(metric, each.each) is not None for each in tried)


def _span(known: list[Scored]) -> str:
    values = sorted(each.value for each in known)
    return f"{values[0]:.4g} to {values[-1]:.4g}"


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
