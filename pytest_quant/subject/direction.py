"""Direction: which way a metric is better, and in which unit, as FP32's outputs show it.

FP32 is scored against the targets of other samples too. A score that falls then is higher-is-better, one
that rises lower-is-better, and one that stays as it is measures nothing.
"""

import re
from dataclasses import replace

import numpy as np

from pytest_quant.errors import QuantStageError
from pytest_quant.subject.metrics import Metric
from pytest_quant.subject.probe import PERMUTATIONS, Probe, Scored
from pytest_quant.subject.score_range import out_of_range, refused_range

PROVEN = 5.0  # standard deviations of the permuted scores: by chance in one of a thousand metrics
FARTHER = 100.0  # no accuracy, not even in per cent, moves by so much
LOSSES = re.compile(
    r"loss|entropy|error|nll|(^|[^a-z])(mse|mae|rmse|mape|wer|cer|bce|ce)([^a-z]|$)|perplex|distance",
    re.IGNORECASE,
)


def with_direction_and_unit(metric: Metric, probe: Probe, real: Scored) -> tuple[Metric, list[str]]:
    """The metric with both, and a note where they need one.

    Args:
        metric: as the user gave it, none of ours.
        probe: FP32's outputs.
        real: the metric's scores of them.

    Raises:
        QuantStageError: for a metric that sees nothing, that has another direction than is said, or whose
            values are not what its unit says.
    """
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
    has_targets = probe.has_targets
    if has_targets and not (others and all(each.is_same(real) for each in others)):
        return
    far = probe.far()
    # of two outputs that a metric compares, both may be far, and a metric may look at whole numbers alone
    is_alone = has_targets or real.is_same_for_each(probe.tried(metric, outputs=probe.unrelated()))
    if far is not None and is_alone and real.is_same(probe.tried(metric, outputs=far)):
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
    if metric.higher_is_better is not None or metric.unit == "perplexity":
        return
    if not has_targets:
        raise QuantStageError(
            "evaluate",
            f"metric {metric.name} has no targets to compare with, those of quant_eval_data being None, "
            "so which way is better cannot be measured. Write "
            f"Metric(..., {metric.name!r}, higher_is_better=True or False).",
        )
    if all(
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
