"""Premises: what else can be at fault than rounding, looked at before rounding is blamed.

In this order: is FP32 worth to be compared with, is the data right, is a file of this model, was it trained
right, is the built model the trained one. Each tells what is known, and what to do about just that.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pytest_quant.errors import QuantStageError
from pytest_quant.explain.effort import Effort
from pytest_quant.explain.extreme_samples import Extremes, extremes_of
from pytest_quant.explain.lessons import wrong_lesson
from pytest_quant.explain.other_flows import other_flows
from pytest_quant.explain.other_weights import other_weights
from pytest_quant.explain.skill import lacks_skill
from pytest_quant.explain.stand_in import why_unlike
from pytest_quant.judge.accuracy_drop import metric_named
from pytest_quant.judge.verdict import Verdict
from pytest_quant.machine import torch_api
from pytest_quant.subject.metrics import Metric
from pytest_quant.variant.evaluation import Evaluation
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.variant import Variant

MOST = 0.5  # of what is lost, from which on it is the cause
NOTABLE = 0.2  # of what is lost
SLOWER = 0.1  # times the learning rate
OFF = "--quant-calibration-shift=off switches this check off"


@dataclass(frozen=True, slots=True)
class Premise:
    """Something else than rounding that is at fault.

    Args:
        sentences: what is known, then what to do.
        recipe: that does it, unmeasured; None where no recipe can.
    """

    sentences: tuple[str, ...]
    recipe: Recipe | None = None


def premise(verdict: Verdict, variant: Variant, effort: Effort) -> Premise | None:
    """The first that does not hold; None where all do, so that it is rounding."""
    try:
        return next(_premises(verdict, variant, effort), None)
    except (QuantStageError, ValueError):  # what cannot be measured is no cause
        return None


def shifted(variant: Variant) -> Premise | None:
    """Whether it was tuned on inputs of another kind than those that judge it."""
    found = variant.measured("shift")
    if found is None:
        return None
    what, told = "Trained" if variant.facts.trains else "Calibrated", found.sentence
    remedy = f"prepare {_what_of(found.given_by)} like quant_eval_data"
    if found.first:
        remedy = (
            f"{found.given_by} as a whole is like quant_eval_data, its first {found.first} samples are "
            "not, so shuffle it, or calibrate on more of it (calibration_samples of the Recipe)"
        )
    return Premise(
        (
            told if told.endswith((".", "?")) else f"{told}.",
            f"{what} on such inputs, the model is tuned for other data than it is judged on: {remedy}; "
            f"then run again. Until then, no other remedy is searched for ({OFF}).",
        )
    )


def _what_of(given_by: str) -> str:
    """The data of a fixture, or what code gives the model."""
    return given_by if given_by.endswith("_data") else f"what {given_by} gives the model"


def _premises(verdict: Verdict, variant: Variant, effort: Effort) -> Iterator[Premise]:
    metric = metric_named(variant, verdict.metric)
    if (found := _without_skill(variant, metric)) is not None:
        yield found
    if (found := shifted(variant)) is not None:
        yield found
    if effort.explain_seconds and (extremes := _extremes(variant)) is not None:
        yield Premise(extremes.sentences)
    if (unlike := why_unlike(variant)) is not None:
        yield Premise(unlike)
    if (others := other_weights(variant)) is not None:
        yield Premise(others)
    if variant.fake_quantized is not None:
        yield from _of_training(verdict, variant, metric, effort)


def _extremes(variant: Variant) -> Extremes | None:
    try:
        return variant.once("extreme samples", lambda: extremes_of(variant))
    except (QuantStageError, ValueError, RuntimeError, TypeError):  # of what cannot be simulated
        return None


def _without_skill(variant: Variant, metric: Metric) -> Premise | None:
    """FP32 that is no better than chance."""
    fp32 = variant.fp32.evaluation
    how = lacks_skill(fp32, metric, is_sure=True)
    if how is None or fp32.majority_rate == 1.0:
        return None
    return Premise(
        (
            f"FP32 itself is {how}, so a drop from it means nothing.",
            "Check the weights that quant_model loads, the metric, and that quant_eval_data has the labels "
            "and the preprocessing that it was trained with.",
        )
    )


def _of_training(
    verdict: Verdict, variant: Variant, metric: Metric, effort: Effort
) -> Iterator[Premise]:
    """What the stages of QAT lost: training, then conversion; rounding is what is left."""
    own, recipe = variant.evaluation, variant.recipe
    before = variant.fp32.evaluation.values[metric.name]
    if recipe is None:
        return
    sign = 1.0 if metric.higher_is_better else -1.0
    lost = sign * (before - own.values[metric.name])
    if lost <= 0:
        return
    fake: float | None = None
    if own.fake_quantized is not None or effort.explain_seconds:
        fake = (own.fake_quantized or _before_conversion(variant).values)[metric.name]
    # with the rounding that it has learnt
    is_trained_well = fake is not None and sign * (before - fake) <= 0
    if effort.explain_seconds and not is_trained_well:
        trained = _without_rounding(variant).values[metric.name]
        if _is_enough(sign * (before - trained), lost, verdict, metric):
            wrong = wrong_lesson(variant, metric)
            yield Premise(
                (
                    f"Training lost it, not int8: with all rounding switched off the trained model is at "
                    f"{metric.shown(trained)} of {metric.name}, FP32 was at {metric.shown(before)}.",
                    wrong or _on_training(variant, recipe),
                ),
                None if wrong else _gentler(variant, recipe),
            )
    if fake is not None and sign * (before - fake) < MOST * lost:
        yield Premise(
            (
                f"The conversion lost it, not the training: {metric.name} is {metric.shown(fake)} "
                f"fake-quantized and {metric.shown(own.values[metric.name])} converted "
                f"({metric.shown(before)} in FP32).",
                f"What flow {recipe.flow} has made is not what was trained: another flow or engine may "
                "do what this one does not; more training will not.",
            ),
            next(other_flows(variant, recipe), None),
        )


def _is_enough(by_training: float, lost: float, verdict: Verdict, metric: Metric) -> bool:
    """Whether training alone explains a FAIL: it is most of what was lost; or it is a notable part, and
    more than the limit allows, so that nothing that is done to the rounding would do."""
    if by_training >= MOST * lost:
        return True
    is_plain = verdict.gate == "max_accuracy_drop" and metric.unit != "perplexity"
    if not is_plain or verdict.evidence.get("relative"):
        return False
    return by_training > verdict.limit and by_training >= NOTABLE * lost


def _without_rounding(variant: Variant) -> Evaluation:
    """The evaluation of what QAT has trained, in float."""

    def evaluated() -> Evaluation:
        module = copy.deepcopy(variant.fake_quantized)
        torch_api.round_nothing(module)
        return variant.sibling("trained, in float", module).evaluation

    return variant.once("trained in float", evaluated)


def _before_conversion(variant: Variant) -> Evaluation:
    """The evaluation of the fake-quantized model, on all samples."""
    return variant.once(
        "fake-quantized",
        lambda: variant.sibling("fake-quantized", variant.fake_quantized).evaluation,
    )


def _on_training(variant: Variant, recipe: Recipe) -> str:
    look = "the labels and the preprocessing of quant_train_data"
    if variant.subject.train is not None:
        return f"Look at quant_train: its learning rate, {look}, and its loss from step to step."
    if recipe.lr > Recipe("qat").lr:
        return (
            f"The learning rate is too high (lr={recipe.lr:g}; fine-tuning takes {Recipe('qat').lr:g} "
            f"or so): lower it; then look at {look}."
        )
    loss = (
        "quant_loss"
        if variant.subject.loss is not None
        else "cross-entropy, unless quant_loss says"
    )
    return f"Look at {look}, and at the loss ({loss}); then lower the learning rate, lr={recipe.lr:g} now."


def _gentler(variant: Variant, recipe: Recipe) -> Recipe | None:
    if variant.subject.train is not None or recipe.lr <= Recipe("qat").lr:
        return None
    return replace(recipe, lr=min(SLOWER * recipe.lr, Recipe("qat").lr))
