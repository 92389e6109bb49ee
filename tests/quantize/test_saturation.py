"""Calibrated on smaller numbers than the model is evaluated on: the report says so, whatever the metric."""

import re

import pytest
import torch

from pytest_quant import Conditions, Metric, Recipe, Subject, open_store
from pytest_quant.quantize.clipping import told_of_saturation
from pytest_quant.quantize.rounding import Rounding

TOLD = "its int8 ranges hold too little of the eval data"


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 8, 3)
        self.norm = torch.nn.BatchNorm2d(8)
        self.last = torch.nn.Linear(8, 2)

    def forward(self, x):
        return self.last(torch.relu(self.norm(self.first(x))).mean((2, 3)))


def inputs(seed, scale=1.0):
    return scale * torch.randn(96, 3, 6, 6, generator=torch.Generator().manual_seed(seed))


def static(calibration, **fields):
    torch.manual_seed(0)
    model = Net().eval()
    with torch.no_grad():
        targets = model(inputs(1))
    error = Metric(torch.nn.functional.mse_loss, "mse", higher_is_better=False)
    eval_data = list(zip(inputs(1).split(32), targets.split(32), strict=True))
    subject = Subject(model, eval_data=eval_data, calibration_data=calibration, metric=error)
    return open_store(Conditions(seed=0)).variant(subject, Recipe("static", **fields))


def told(variant):
    return [note for note in variant.notes if note.startswith(TOLD)]


@pytest.mark.parametrize("flow", ["fx", "parts", "pt2e"])
@pytest.mark.parametrize("scale", [0.3, 0.05])
def test_a_smaller_scale_is_told(flow, scale):
    (note,) = told(static(list(inputs(2, scale).split(32)), flow=flow))
    # a range is told as too small where values lie a tenth of it outside, by bare counting
    shown, low, high = inputs(1)[:32], inputs(2, scale).min(), inputs(2, scale).max()
    slack = 0.1 * (high - low)
    outside = ((shown < low - slack) | (shown > high + slack)).double().mean()
    share = int(re.search(r"(\d+) % of the values of the inputs lie outside", note)[1])
    assert share == pytest.approx(100 * float(outside), abs=4)
    assert "Calibrate on inputs" in note


def test_the_layer_that_sees_other_values_is_named():
    model = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    torch.nn.init.ones_(model[0].weight)  # adds the two numbers, which have one range in both sets
    x = torch.linspace(-1, 1, 64)
    alike, opposed = torch.stack([x, x], 1), torch.stack([x, -x], 1)
    eval_data = [(alike, (x > 0).long())]
    subject = Subject(model.eval(), eval_data=eval_data, calibration_data=[opposed])
    made = open_store(Conditions()).variant(subject, Recipe("static", flow="fx"))
    (note,) = told(made)
    assert "% of the values of 0 (Linear) lie outside" in note


@pytest.mark.parametrize("fields", [{}, {"observer": "percentile"}, {"observer": "minmax"}])
@pytest.mark.parametrize("seed", [2, 3, 4])
def test_other_samples_of_the_same_kind_are_no_news(fields, seed):
    assert not told(static(list(inputs(seed).split(32)), flow="fx", **fields))
    assert not told(static(list(inputs(seed, 20.0).split(32)), flow="fx", **fields))


def test_ranges_that_training_found_are_not_to_be_calibrated():
    observer = torch.ao.quantization.MinMaxObserver()
    observer(torch.linspace(-1, 1, 8))
    rehearsed = torch.nn.Sequential(Rounding(observer))
    x = torch.linspace(-9, 9, 64)
    (usual,) = told_of_saturation(rehearsed, lambda model: model(x))
    (note,) = told_of_saturation(rehearsed, lambda model: model(x), trains=True)
    assert "Calibrate on inputs" in usual
    assert "it took too few steps, or activations grew too fast" in note
    assert "Calibrate" not in note
