"""Lessons: training data that makes a model forget what FP32 knew is told by what is wrong with it."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import planted
import pytest
import torch
from builders import ONE_THREAD

from pytest_quant import Recipe
from pytest_quant.explain.lessons import _wrong_selection, wrong_lesson
from pytest_quant.store.open import open_store

COUNT = 160


def lesson(choose):
    """What is said of the samples that `choose` takes of images and their classes."""
    subject, *_ = planted.none(0)
    x = planted.images(2000, 5)
    with torch.no_grad():
        classes = subject.model(x).argmax(1)
    data = [(x[places], classes[places]) for places in choose(classes)]
    variant = open_store(ONE_THREAD).variant(
        replace(subject, train_data=data), Recipe("qat", epochs=1)
    )
    return wrong_lesson(variant, variant.admitted.metrics[0]), classes


def mixed(classes):
    return torch.arange(COUNT).split(32)


def of_one_class(classes):
    return (classes == classes[0]).nonzero()[:COUNT, 0].split(32)


def sorted_by_class(classes):
    order = classes[:600].argsort()
    own = [order[classes[order] == number] for number in classes.unique()]
    return [part for part in own if len(part) >= 8]


def few(classes):
    return [torch.arange(16)]


def single(classes):
    """Batches of one sample, which cannot have more than one class."""
    return torch.arange(COUNT).split(1)


@pytest.mark.parametrize("choose", [mixed, single])
def test_of_mixed_data_nothing_is_said(choose):
    assert lesson(choose)[0] is None


def test_of_one_class_alone():
    said, classes = lesson(of_one_class)
    assert said.startswith("quant_train_data has samples of 1 of the ")
    assert f"classes of quant_eval_data ({classes[0]}): the model forgets the others" in said


def test_sorted_data():
    said, _ = lesson(sorted_by_class)
    assert said.startswith("quant_train_data is sorted: ")
    assert "shuffle=True" in said


def selected(judged, learned, unit="fraction"):
    """What is said of labels alone."""
    data = [(torch.zeros(len(part), 1), torch.tensor(part)) for part in learned]
    labels = np.array(judged, dtype=np.int64)
    variant = SimpleNamespace(
        subject=SimpleNamespace(train_data=data, batch=None),
        fp32=SimpleNamespace(evaluation=SimpleNamespace(labels=labels)),
    )
    return _wrong_selection(variant, SimpleNamespace(unit=unit))


def test_other_numbers_are_not_said_to_be_missing():
    said = selected(range(10), [[*range(100, 110)] * 4, [*range(100, 110)] * 4])
    assert "from 100 to 109: they are numbered otherwise" in said


def test_amounts_are_no_classes():
    ages = [[7 * number % 90 for number in range(48)]]
    assert selected(range(90), ages * 20, unit="raw") is None


def test_of_few_samples_classes_may_be_missing_by_chance():
    assert selected(range(90), [[*range(40)]]) is None
    assert "40 of the 90 classes" in selected(range(90), [[*range(40)]] * 20)


def test_few_samples():
    assert lesson(few)[0].startswith("quant_train_data has only 16 samples, ")
