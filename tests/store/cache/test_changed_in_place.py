"""Data that a test changes in place: what is built of it is not kept under the key of what it was."""

import pytest
import torch
from builders import ONE_THREAD, batches, toy_subject

from pytest_quant import Recipe, open_store
from pytest_quant.store.cache.cache import Cache
from pytest_quant.variant.kept import BUILD


@pytest.mark.parametrize("changed", [False, True])
def test_calibration_data_that_is_changed_between_two_builds(tmp_path, changed):
    data, other = batches(seed=2), Recipe("static", observer="minmax")
    store = open_store(ONE_THREAD, Cache(tmp_path, ONE_THREAD))
    subject = toy_subject(calibration_data=data)
    assert store.variant(subject, Recipe("static"))
    if changed:
        with torch.no_grad():
            data[0][0].mul_(3)
    assert store.variant(subject, other)
    again = open_store(ONE_THREAD, Cache(tmp_path, ONE_THREAD))
    found = again.variant(toy_subject(calibration_data=batches(seed=2)), other)
    assert found.measured(BUILD).is_old is not changed
