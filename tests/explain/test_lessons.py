"""Lessons: training data that makes a model forget what FP32 knew is told by what is wrong with it."""

from dataclasses import replace

import planted
import pytest
import torch
from builders import ONE_THREAD

from pytest_quant import Recipe
from pytest_quant.explain.lessons import wrong_lesson
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


def test_few_samples():
    assert lesson(few)[0].startswith("quant_train_data has 16 samples, ")
