"""Extreme samples: the few calibration samples that set the ranges of all are named, healthy ones not."""

from dataclasses import replace

import planted
import pytest
import torch
from builders import ONE_THREAD
from torch.utils.data import DataLoader, TensorDataset

from pytest_quant import Recipe
from pytest_quant.explain.extreme_samples import extremes_of
from pytest_quant.store.open import open_store


def variant(change, *, observer=None, kind="static", judged=None, shuffles=False):
    """Of the planted network, calibrated on images of which `change` has changed some."""
    model = planted.net(0)
    images = planted.images(128, 2)
    change(images)
    subject = planted.subject(model, 0, calibration=images)
    if judged is not None:
        x, y = (torch.cat(parts) for parts in zip(*subject.eval_data, strict=True))
        x[judged] *= 300
        subject = replace(subject, eval_data=list(zip(x.split(64), y.split(64), strict=True)))
    if shuffles:
        loader = DataLoader(TensorDataset(images), batch_size=32, shuffle=True)
        subject = replace(subject, calibration_data=loader)
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


@pytest.mark.parametrize("place", [5, 250])
def test_what_eval_data_has_too_is_no_fault(place):
    assert extremes_of(variant(scaled(17), observer="minmax", judged=place)) is None


def test_of_a_loader_that_shuffles_no_place_is_named():
    own = variant(scaled(17), observer="minmax", shuffles=True)
    cause, _ = extremes_of(own).sentences
    assert cause.startswith("1 of the 128 samples of quant_calibration_data reaches ")
