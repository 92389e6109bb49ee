"""The simulation has the ranges of the built model where an operation cuts values off, or is the last."""

import math

import pytest
import torch
import torch.nn.functional as F
from builders import ONE_THREAD, threads
from quantizable import Convolutional, built, images, made
from torch import nn

from pytest_quant import Metric, Recipe, Subject
from pytest_quant.explain.lost.noise import noise_share
from pytest_quant.explain.lost.simulate import simulated, simulations
from pytest_quant.explain.lost.simulation import in_float
from pytest_quant.store.open import open_store

WIDE = 40  # times what the operation tells apart


class Between(nn.Module):
    """A wide convolution, an operation, another convolution, and what the model ends with."""

    def __init__(self, operation, ending):
        super().__init__()
        self.wide, self.last = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 4, 3)
        self.operation, self.ending = operation, ending
        with torch.no_grad():
            self.wide.weight *= WIDE

    def forward(self, x):
        return self.ending(self.last(self.operation(self.wide(x)))).flatten(1)


def mean(x):
    return x.mean((2, 3))


OPERATIONS = {
    "ReLU6": nn.ReLU6(),
    "Hardtanh": nn.Hardtanh(-2.0, 1.0),
    "Hardswish": nn.Hardswish(),
    "relu6": F.relu6,
    "clamp": lambda x: torch.clamp(x, -1, 2),
    "clamp of a tensor": lambda x: x.clamp(-1, 2),
    "pooled": lambda x: F.max_pool2d(F.relu6(x), 2),
    "pooled first": lambda x: F.relu(F.max_pool2d(x, 2)),
    "gated": lambda x: F.hardsigmoid(x) * x,
    "in place": lambda x: x.clamp_(-1, 2),
    "of a sum": lambda x: F.relu(x + x).clamp(max=1),
    "read twice": lambda x: F.relu6(x) + x,
}
ENDINGS = {
    "mean": mean,
    "pool": nn.AdaptiveAvgPool2d(1),
    "functional pool": lambda x: F.avg_pool2d(x, 2),
    "interpolate": lambda x: F.interpolate(x, scale_factor=0.5),
    "clamped": lambda x: torch.clamp(mean(x), -1, 1),
    "nothing": nn.Identity(),
}
CASES = [
    *((operation, "mean") for operation in OPERATIONS),
    *(("relu6", ending) for ending in ENDINGS if ending != "mean"),
]


@pytest.mark.parametrize(("operation", "ending"), CASES)
def test_the_noise_is_that_of_the_built_model(operation, ending):
    model = made(Between, OPERATIONS[operation], ENDINGS[ending])
    with threads(1):
        variant = built(model, Recipe("static", flow="fx"), images)
        simulation, probe = simulated(variant), variant.admitted.first_inputs
        with in_float():
            reference = simulation.outputs(probe, simulation.without(simulation.layers))
            inside = simulation.outputs(probe, simulation.without())
        with variant.running():
            outside = variant.model(probe)
    decibels = [-10 * math.log10(noise_share(reference, y)) for y in (outside, inside)]
    assert decibels[1] == pytest.approx(decibels[0], abs=1.5)


class Heads(nn.Module):
    """The last operation is a ReLU, of one of two outputs."""

    def __init__(self):
        super().__init__()
        self.body, self.plain, self.cut = nn.Conv2d(3, 8, 3), nn.Linear(8, 5), nn.Linear(8, 5)

    def forward(self, x):
        x = mean(F.relu(self.body(x)))
        return self.plain(x), F.relu(self.cut(x))


def test_the_span_of_one_output_is_not_that_of_another():
    model, x = made(Heads), images(0, (32,))[0][0]
    data = [(x, torch.zeros(len(x)))]
    with threads(1):
        subject = Subject(
            model,
            "heads",
            eval_data=data,
            calibration_data=images(1, (64,)),
            metric=Metric(
                lambda o, y: -o[0].square().mean(1), "size", higher_is_better=True, unit="raw"
            ),
        )
        recipe = Recipe("static", flow="fx", observer="minmax")
        variant = open_store(ONE_THREAD).variant(subject, recipe)
        grid = simulated(variant).grids["plain", "output", 0]
    assert float(grid.scale) == pytest.approx(variant.model.plain.scale, rel=1e-3)


def test_all_recipes_see_the_data_in_one_pass_of_the_model():
    model, passes = made(Convolutional), []

    class Counted(list):
        def __iter__(self):
            passes.append(1)
            return super().__iter__()

    def counted(*given):
        return Counted(images(*given))

    with threads(1):
        variant = built(model, Recipe("static", flow="fx", per_channel=False), counted)
        passes.clear()
        recipes = [
            Recipe("static", flow="fx", engine=variant.recipe.engine, **given)
            for given in ({}, {"observer": "minmax"}, {"observer": "mse"}, {"per_channel": False})
        ]
        found = simulations(variant, recipes)
        assert len(passes) == 1
        alone = [simulations(variant, [recipe])[0] for recipe in recipes]
    for one, other in zip(found, alone, strict=True):
        assert one.grids.keys() == other.grids.keys()
        for site, grid in one.grids.items():
            assert torch.equal(grid.scale, other.grids[site].scale)
            assert torch.equal(grid.zero_point, other.grids[site].zero_point)
        assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)
    assert not torch.equal(found[0].weights["conv"], found[3].weights["conv"])
