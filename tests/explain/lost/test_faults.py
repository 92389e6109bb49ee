"""Faults: words for what stands out of a layer, by hand-made figures."""

import pytest
import torch

from pytest_quant.explain.lost.fault import FaultKind
from pytest_quant.explain.lost.faults import faults_of
from pytest_quant.explain.lost.range_fit import Fit, outlier_of

FINE = Fit(saturated=0.0, used=1.0, outlier=2.0)


def faults(layer=None, fits=(FINE,), per_channel=True, weight_sqnr=40.0, scale=None):
    layer = layer or torch.nn.Linear(4, 4)
    found = faults_of(layer, fits, per_channel=per_channel, weight_sqnr=weight_sqnr, scale=scale)
    return tuple(map(str, found))


def test_nothing_stands_out_of_a_sound_layer():
    assert faults() == ()


@pytest.mark.parametrize(
    ("fit", "words"),
    [
        (Fit(0.032, 1.0, 1.0), "saturates 3.2 % of activations"),
        (Fit(0.0, 0.02, 1.0), "98 % of the range is empty"),
        (Fit(0.0, 1.0, 41.3), "activations: outlier channel, max 41x the median"),
    ],
)
def test_activations_are_blamed_in_words(fit, words):
    assert faults(fits=[FINE, fit]) == (words,)


def test_a_depthwise_layer_with_one_scale_is_named():
    depthwise = torch.nn.Conv2d(8, 8, 3, groups=8)
    assert faults(depthwise, per_channel=False)[0] == "depthwise, per-tensor"
    assert faults(depthwise) == ()
    assert faults(torch.nn.Conv2d(8, 8, 3), per_channel=False) == ()


def test_the_batchnorm_counts_as_part_of_the_weight():
    conv = torch.nn.Conv2d(2, 5, 1)
    with torch.no_grad():
        conv.weight.fill_(1.0)
    scale = torch.tensor([1.0, 1.0, 1.0, 1.0, 50.0])
    words = ("weight: outlier channel, max 50x the median",)
    assert faults(conv, per_channel=False, scale=scale) == words
    assert faults(conv, per_channel=True, scale=scale) == ()


def test_a_weight_that_loses_most_of_its_bits_is_named_where_nothing_else_says_why():
    assert faults(weight_sqnr=12.3) == ("weight keeps 12 dB",)


def test_an_outlier_is_the_largest_channel_over_the_median_one():
    values = torch.ones(2, 5, 3, 3)
    values[1, 2, 0, 0] = -7.0
    assert outlier_of(values, 1) == 7.0
    assert outlier_of(torch.tensor([[1.0, 2.0, 30.0]]), -1) == 15.0
    assert outlier_of(torch.zeros(2, 5), -1) == 1.0


def test_a_fault_is_a_fact_and_its_words_come_last():
    (fault,) = faults_of(
        torch.nn.Linear(4, 4), [Fit(0.0, 1.0, 41.3)], per_channel=True, weight_sqnr=40.0, scale=None
    )
    assert (fault.kind, fault.figure) == (FaultKind.UNEQUAL_ACTIVATIONS, 41.3)
