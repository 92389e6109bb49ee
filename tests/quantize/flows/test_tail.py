"""Tail: what goes into no int8 layer is computed in float by flow fx."""

import math

import pytest
import torch
from builders import ONE_THREAD, open_store
from torch import nn

from pytest_quant import Recipe, Subject
from pytest_quant.explain.lost.noise import noise_share
from pytest_quant.explain.lost.simulate import simulated
from pytest_quant.explain.lost.simulation import in_float
from pytest_quant.measure.nearness import nearness

WIDE = 2000.0  # one channel's values are so many times as large


class Pooled(nn.Module):
    """Three convolutions with poolings between them; one channel of the first is far too wide."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.c, self.head = nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 4)
        with torch.no_grad():
            self.a.weight[3] *= WIDE
            self.b.weight[:, 3] /= WIDE
        self.eval()

    def forward(self, x):
        x = torch.nn.functional.max_pool2d(torch.relu(self.a(x)), 2)
        x = torch.nn.functional.max_pool2d(torch.relu(self.b(x)), 2)
        return self.head(torch.relu(self.c(x)).mean((2, 3)))


def pooled(kind="static", **wishes):
    x = torch.randn(64, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    model = Pooled()
    with torch.no_grad():
        data = [(part, model(part).argmax(1)) for part in x.split(16)]
    parts = {"calibration_data": data[2:], "train_data": data[2:]}
    subject = Subject(model, eval_data=data[:2], **parts)
    return open_store(ONE_THREAD).variant(subject, Recipe(kind, flow="fx", **wishes))


def rounded(variant):
    """The names of what is rounded, in the order of the graph."""
    return [
        node.args[0].name
        for node in variant.model.graph.nodes
        if node.target is torch.quantize_per_tensor
    ]


@pytest.mark.parametrize("kind", ["static", "qat"])
def test_between_kept_layers_nothing_is_rounded(kind):
    variant = pooled(kind, keep_fp32=("a", "b"))
    assert rounded(variant)[0] == "relu_1"  # what c takes
    if kind == "static":  # training changes outputs besides
        assert nearness(variant) > 20


def test_the_simulation_knows_of_it():
    own, kept = pooled(), ("a", "b")
    inputs, simulation = own.admitted.first_inputs, simulated(own)
    with in_float():
        reference = simulation.outputs(inputs, simulation.without(simulation.layers))
        inside = simulation.outputs(inputs, simulation.without(kept))
    decibels = -10 * math.log10(noise_share(reference, inside))
    assert decibels == pytest.approx(nearness(pooled(keep_fp32=kept)), abs=6)
    assert not simulation.loose(simulation.without())


def test_what_an_int8_layer_follows_is_rounded_as_before():
    variant = pooled(keep_fp32=("a",))
    assert rounded(variant)[0] == "relu"  # what b takes
    assert nearness(variant) < 20
    assert rounded(pooled()) == ["x", "relu", "relu_1", "relu_2"]


def test_the_output_of_an_int8_layer_is_rounded_before_a_kept_one():
    variant = pooled(keep_fp32=("b",))
    assert rounded(variant)[0] == "x"
    assert type(variant.model.b).__module__.startswith("torch.nn")
    assert variant.int8_share.stayed_fp32 == ("b",)
