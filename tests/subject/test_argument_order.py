"""Argument order: a metric that takes targets first is refused, since it would be given outputs first."""

import functools

import pytest

from pytest_quant import Metric
from pytest_quant.subject.metrics import metrics_from


def r2_score(y_true, y_pred, *, sample_weight=None):
    return 1.0


def labels_first(labels, logits):
    return 1.0


class Meter:
    def update(self, target, preds):
        """Takes targets first."""

    def compute(self):
        return 1.0

    def reset(self):
        """Forgets."""


@pytest.mark.parametrize(
    "fn",
    [r2_score, labels_first, functools.partial(r2_score, sample_weight=None), Meter()],
)
def test_targets_first_is_refused_with_what_to_write(fn):
    with pytest.raises(ValueError, match=r"is called with \(outputs, targets\).*give"):
        Metric(fn, "mine")
    with pytest.raises(ValueError, match="each would be taken for the other"):
        metrics_from({"mine": fn})


@pytest.mark.parametrize(
    "fn",
    [
        lambda o, y: 1.0,
        lambda outputs, targets: 1.0,
        lambda y_pred, y_true: 1.0,
        lambda y, t: 1.0,  # y is the output of a model too
        lambda *args: 1.0,
        print,
    ],
)
def test_any_other_order_and_names_are_taken(fn):
    assert Metric(fn, "mine").fn is fn


def test_the_remedy_for_a_function_turns_its_arguments_round():
    with pytest.raises(ValueError, match=r"lambda outputs, targets: r2_score\(targets, outputs\)"):
        metrics_from(r2_score)
