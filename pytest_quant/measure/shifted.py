"""Shifted: are the inputs that a variant is calibrated or trained on like those that judge it?"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from pytest_quant.errors import QuantStageError
from pytest_quant.quantize.calibrate import calibration_source
from pytest_quant.subject.shift.drawn import SAMPLES, drawn
from pytest_quant.subject.shift.likeness import likeness
from pytest_quant.subject.shift.shift import shift_between
from pytest_quant.subject.shift.traits import Seen, Traits, traits_of
from pytest_quant.subject.shift.unmoved import unmoved
from pytest_quant.subject.subject import Subject
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.variant import Variant

FEWEST = 50  # samples that code of the user's gave a model

Known = Mapping[str, Traits] | None


class Shifted(NamedTuple):
    """Inputs of another kind.

    Args:
        told: what they look like beside the eval inputs.
        given_by: the fixture, or whose code.
        first: how many samples calibrated, where they are unlike the rest of the data, so that its order is
            at fault; 0 where it is not.
    """

    told: str
    given_by: str
    first: int = 0

    @property
    def sentence(self) -> str:
        """What is told, as a sentence begins."""
        return f"{self.told[0].upper()}{self.told[1:]}"


def shifted(fp32: Variant, subject: Subject, recipe: Recipe) -> Shifted | None:
    """What the inputs that a recipe tunes on look like beside the eval inputs, when they are other ones;
    None when they are alike, or when that cannot be known.

    Nothing is built for it, and the data is left as it was.

    Raises:
        QuantStageError: they are other ones, and the run's conditions make that an error.
    """
    is_off = fp32.conditions.calibration_shift == "off"
    source = None if is_off else _source(fp32, subject, recipe)
    if source is None:
        return None
    name, fixture, data = source
    tuned = None if _judged(fp32, subject) is None else _known(fp32, subject, data, fixture)
    return None if tuned is None else _compared(fp32, subject, recipe, tuned, name, fixture)


def shifted_in(
    fp32: Variant, subject: Subject, recipe: Recipe, seen: Seen | None
) -> Shifted | None:
    """The same of inputs that calibrated it, or that code of the user's was seen to give the model; as
    `shifted`, but later.

    Calibration takes the first samples. Of sorted data these may be other ones than the whole of it.
    """
    is_off = fp32.conditions.calibration_shift == "off"
    if is_off or seen is None or seen.samples < FEWEST:  # an example to trace with is no data
        return None
    own, first = seen.traits(SAMPLES), 0
    name, who = ("training inputs", "quant_train")
    if recipe.build is not None:
        name, who = ("the inputs that its build gave the model", "its build")
    elif (source := _source(fp32, subject, recipe)) is not None:
        name, who, data = source
        if _are_apart(own, _known(fp32, subject, data, who)):
            name, first = f"the first {seen.samples} {name}", seen.samples
    return _compared(fp32, subject, recipe, own, name, who, first)


def _are_apart(own: Mapping[str, Traits], whole: Known) -> bool:
    """Whether some inputs are of another kind than the data that they are the first of; a single sample
    that holds NaN is no matter of order."""
    shift = None if whole is None else shift_between(own, whole)
    return shift is not None and math.isfinite(shift.effect)


def _compared(
    fp32: Variant,
    subject: Subject,
    recipe: Recipe,
    tuned: Mapping[str, Traits],
    name: str,
    given_by: str,
    first: int = 0,
) -> Shifted | None:
    judged = _judged(fp32, subject)
    shift = None if judged is None else shift_between(tuned, judged)
    if shift is None:
        return None
    told = likeness(shift, name)
    if fp32.conditions.calibration_shift == "error":
        remedy = f"Give {given_by} what quant_eval_data is given"
        if first:
            remedy = f"Shuffle {given_by}, whose other samples are like the eval inputs"
        raise QuantStageError(
            "train" if fp32.facts_of(recipe).trains else "calibrate",
            f'{told} {remedy}, or say quant_calibration_shift = "warn" where it is meant.',
        )
    return Shifted(told, given_by, first)


def _judged(fp32: Variant, subject: Subject) -> Known:
    return _known(fp32, subject, subject.eval_data, "quant_eval_data")


def _source(fp32: Variant, subject: Subject, recipe: Recipe) -> tuple[str, str, Any] | None:
    """What the inputs are called, their fixture and the data."""
    facts = fp32.facts_of(recipe)
    if facts.trains:
        data = subject.train_data
        if data is None or subject.train is not None:  # a loop may prepare them itself
            return None
        return "training inputs", "quant_train_data", data
    if not facts.is_calibrated:
        return None
    try:
        fixture, data = calibration_source(subject)
    except QuantStageError:  # which calibration will say
        return None
    of = " (of quant_train_data)" if fixture == "quant_train_data" else ""
    return f"calibration inputs{of}", fixture, data


def _known(fp32: Variant, subject: Subject, data: Any, fixture: str) -> Known:
    """What is known of some inputs, which are read once; None where they cannot be, which the stage that
    needs them will say."""
    identity = subject.identity_of(fixture.removeprefix("quant_"))
    return fp32.once(f"{fixture} {identity!r}", lambda: _read(fp32, subject, data, fixture))


def _read(fp32: Variant, subject: Subject, data: Any, fixture: str) -> Known:
    try:
        with fp32.isolated((data,)), unmoved(data):
            some = drawn(data, fixture, subject.batch, like=fp32.admitted.first_inputs)
            return traits_of(some, SAMPLES)
    except Exception:
        return None
