"""Extreme samples: the few calibration samples that set the ranges of all are named, healthy ones not."""

from dataclasses import replace

import planted
import pytest
from builders import ONE_THREAD

from pytest_quant import Recipe
from pytest_quant.explain.extreme_samples import extremes_of
from pytest_quant.store.open import open_store


def variant(change, *, observer=None, kind="static", judged=False):
    """Of the planted network, calibrated on images of which `change` has changed some."""
    model = planted.net(0)
    images = planted.images(128, 2)
    change(images)
    subject = planted.subject(model, 0, calibration=images)
    if judged:
        x, y = subject.eval_data[0]
        x = x.clone()
        x[5] *= 300
        subject = replace(subject, eval_data=[(x, y), *subject.eval_data[1:]])
    return open_store(ONE_THREAD).variant(subject, Recipe(kind, observer=observer))


def scaled(*places, by=300.0):
    def change(images):
        images[list(places)] *= by

    return change


@pytest.mark.parametrize("observer", ["minmax", "histogram", "moving_average"])
@pytest.mark.parametrize("places", [(17,), (3, 90, 127)])
def test_they_are_named_with_their_place(observer, places):
    found = extremes_of(variant(scaled(*places), observer=observer))
    if found is None:  # this observer has not spent its range on them
        assert observer != "minmax"
        return
    assert found.places == places
    cause, remedy = found.sentences
    assert cause.startswith(f"{len(places)} of the 128 samples of quant_calibration_data (number")
    assert found.sqnr[1] > found.sqnr[0] + 3
    assert "leave" in remedy


@pytest.mark.parametrize(
    "change",
    [scaled(), scaled(17, by=2.5), scaled(*range(0, 128, 2)), scaled(17, by=0.001)],
    ids=["none", "not far", "half of them", "dark"],
)
def test_healthy_ones_are_not(change):
    assert extremes_of(variant(change, observer="minmax")) is None


def test_what_eval_data_has_too_is_no_fault():
    assert extremes_of(variant(scaled(17), observer="minmax", judged=True)) is None
