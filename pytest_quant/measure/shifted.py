"""Shifted: are the inputs that a variant is calibrated or trained on like those that judge it?"""

from collections.abc import Mapping
from typing import Any

from pytest_quant.errors import QuantStageError
from pytest_quant.quantize.calibrate import calibration_source
from pytest_quant.subject.shift.drawn import SAMPLES, drawn
from pytest_quant.subject.shift.likeness import likeness
from pytest_quant.subject.shift.shift import shift_between
from pytest_quant.subject.shift.traits import Traits, traits_of
from pytest_quant.subject.shift.unmoved import unmoved
from pytest_quant.subject.subject import Subject
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.variant import Variant

Known = Mapping[str, Traits] | None


def shifted(fp32: Variant, subject: Subject, recipe: Recipe) -> str | None:
    """What the inputs that a recipe tunes on look like beside the eval inputs, when they are other ones;
    None when they are alike, or when that cannot be known.

    Nothing is built for it, and the data is left as it was.

    Raises:
        QuantStageError: they are other ones, and the run's conditions make that an error.
    """
    how = fp32.conditions.calibration_shift
    source = None if how == "off" else _source(fp32, subject, recipe)
    if source is None:
        return None
    name, fixture, data = source
    judged = fp32.once(
        "eval inputs", lambda: _known(fp32, subject, subject.eval_data, "quant_eval_data")
    )
    tuned = None if judged is None else _known(fp32, subject, data, fixture)
    if tuned is None or judged is None:
        return None
    shift = shift_between(tuned, judged)
    if shift is None:
        return None
    told = likeness(shift, name)
    if how == "error":
        raise QuantStageError(
            "train" if fp32.facts_of(recipe).trains else "calibrate",
            f"{told} Give {fixture} what quant_eval_data is given, or say quant_calibration_shift = "
            '"warn" where it is meant.',
        )
    return told


def _source(fp32: Variant, subject: Subject, recipe: Recipe) -> tuple[str, str, Any] | None:
    """What the inputs are called, their fixture and the data."""
    facts = fp32.facts_of(recipe)
    if facts.trains:
        data = subject.train_data
        return None if data is None else ("training inputs", "quant_train_data", data)
    if not facts.is_calibrated:
        return None
    try:
        fixture, data = calibration_source(subject)
    except QuantStageError:  # which calibration will say
        return None
    of = " (of quant_train_data)" if fixture == "quant_train_data" else ""
    return f"calibration inputs{of}", fixture, data


def _known(fp32: Variant, subject: Subject, data: Any, fixture: str) -> Known:
    """What is known of some inputs; None where they cannot be read, which the stage that needs them
    will say."""
    try:
        with fp32.isolated((data,)), unmoved(data):
            some = drawn(data, fixture, subject.batch, like=fp32.admitted.first_inputs)
            return traits_of(some, SAMPLES)
    except Exception:
        return None
