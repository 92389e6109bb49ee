"""Inputs are compared once, before a variant is built, and what reads them leaves no trace."""

from dataclasses import replace

import pytest
import torch
from builders import ONE_THREAD, batches, toy_subject
from torch.utils.data import DataLoader, TensorDataset

from pytest_quant import QuantStageError, Recipe
from pytest_quant.store.open import measures_under, open_store
from pytest_quant.store.store import Store


class Counting(list):
    """Counts how often its items are read."""

    read = 0

    def __getitem__(self, index):
        type(self).read += 1
        return super().__getitem__(index)


def test_data_is_read_once_for_all_recipes_that_tune_on_it():
    Counting.read = 0
    given = Counting(batches(64, seed=2))
    store, subject = open_store(ONE_THREAD), toy_subject(calibration_data=given)
    store.variant(subject, Recipe("static", flow="fx"))
    once = Counting.read
    assert once == len(given)
    store.variant(subject, Recipe("static", flow="fx", observer="minmax"))
    assert Counting.read == once


def test_a_variant_has_the_same_bits_whether_or_not_its_inputs_are_looked_at():
    def outputs(shift):
        x = torch.cat([x for x, _ in batches(256, seed=3)])
        generator = torch.Generator().manual_seed(7)
        loader = DataLoader(
            TensorDataset(x, x[:, :3].argmax(1)), batch_size=8, shuffle=True, generator=generator
        )
        subject = toy_subject(calibration_data=loader, train_data=loader)
        store = open_store(replace(ONE_THREAD, calibration_shift=shift))
        found = []
        for recipe in (
            Recipe("static", flow="fx", calibration_samples=24),
            Recipe("qat", flow="fx"),
        ):
            variant = store.variant(subject, recipe)
            found.append(variant(subject.eval_data[0][0]))
        return torch.cat(found)

    assert torch.equal(outputs("warn"), outputs("off"))


def test_other_data_of_a_second_recipe_is_looked_at_anew():
    store, subject = open_store(ONE_THREAD), toy_subject()
    other = replace(subject, calibration_data=[(50 * x + 9, y) for x, y in batches(256, seed=4)])
    many = replace(subject, eval_data=batches(256))
    assert store.variant(many, Recipe("static", flow="fx")).measured("shift") is None
    shifted = store.variant(
        replace(other, eval_data=many.eval_data), Recipe("static", flow="fx")
    ).measured("shift")
    assert "span" in shifted.told
    assert shifted.given_by == "quant_calibration_data"


def test_the_samples_that_calibrated_are_looked_at_and_not_just_all_of_the_data():
    few = [(0.01 * x if place < 16 else x, y) for place, (x, y) in enumerate(batches(1024, seed=4))]
    subject = toy_subject(calibration_data=few, eval_data=batches(256))
    shift = open_store(ONE_THREAD).variant(subject, Recipe("static", flow="fx")).measured("shift")
    assert shift.told.startswith("the first 200 calibration inputs span")
    assert (shift.first, shift.given_by) == (200, "quant_calibration_data")
    with pytest.raises(
        QuantStageError, match=r"Shuffle quant_calibration_data, whose other samples"
    ):
        open_store(replace(ONE_THREAD, calibration_shift="error")).variant(
            subject, Recipe("static", flow="fx")
        )
    more = Recipe("static", flow="fx", calibration_samples=1024)
    assert open_store(ONE_THREAD).variant(subject, more).measured("shift") is None


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_value_that_is_no_number_is_named_and_no_flow_is_blamed(value):
    given = batches(1024, seed=4)
    given[3][0][5, 2] = float(value)
    subject = toy_subject(calibration_data=given, eval_data=batches(256))
    with pytest.raises(QuantStageError) as caught:
        open_store(ONE_THREAD).variant(subject, Recipe("static"))
    assert caught.value.stage == "calibrate"
    assert "NaN or infinity among the 16 samples after the first 48" in caught.value.sentence
    assert "flow" not in caught.value.sentence


def test_an_error_of_a_stage_tells_the_inputs_first():
    zeros = [(0 * x, y) for x, y in batches(256, seed=4)]
    subject = toy_subject(calibration_data=zeros, eval_data=batches(256))

    def build(admitted, recipe, conditions):
        raise QuantStageError("convert", "flow fx makes another model.")

    store = Store(ONE_THREAD, build, measures_under(ONE_THREAD))
    with pytest.raises(QuantStageError) as caught:
        store.variant(subject, Recipe("static", flow="fx"))
    assert str(caught.value).startswith(
        "convert ERROR: Calibration inputs are all 0, eval inputs span"
    )
    assert str(caught.value).endswith("placeholder? flow fx makes another model.")


def test_without_data_the_stage_that_needs_it_says_so():
    variant = open_store(ONE_THREAD).variant(toy_subject(), Recipe("dynamic"))
    assert variant.measured("shift") is None
