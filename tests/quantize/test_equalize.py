"""Equalization: the outputs stay, the channels' ranges meet, and what cannot be scaled is left."""

import copy

import pytest
import torch
from builders import ONE_THREAD, toy_variant
from torch import nn
from torch.nn import functional as F

from pytest_quant import Recipe, Subject, load_variant
from pytest_quant.errors import QuantStageError
from pytest_quant.quantize.equalize import equalize
from pytest_quant.quantize.flows.example import Example
from pytest_quant.store.open import open_store
from pytest_quant.variant.sqnr import sqnr

IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
ROWS = torch.randn(5, 3, generator=torch.Generator().manual_seed(2))


def seeded(*layers):
    """The layers, with weights of very unequal channels and BatchNorm that has seen something."""
    model = nn.Sequential(*layers)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in model.modules():
            for parameter in layer._parameters.values():
                if parameter is not None:
                    parameter.copy_(torch.randn(parameter.shape, generator=generator))
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_(generator=generator)
                layer.running_var.uniform_(0.5, 3, generator=generator)
                layer.bias.mul_(1e-2)
            elif isinstance(layer, nn.Conv2d):
                unequal = torch.logspace(-2, 1, len(layer.weight))
                layer.weight.mul_(unequal.view(-1, 1, 1, 1))
                layer.bias.mul_(unequal)
    return model.eval()


def equalized(model, inputs=IMAGES):
    copied = copy.deepcopy(model)
    with torch.no_grad():
        note = equalize(copied, Example((inputs,), {}, model(inputs)))
    return copied, note


def outputs_differ_by(model, other, inputs=IMAGES):
    with torch.no_grad():
        exact = model(inputs)
        return float((other(inputs) - exact).norm() / exact.norm())


@pytest.mark.parametrize(
    "between",
    [
        (),
        (nn.BatchNorm2d(6),),
        (nn.ReLU(),),
        (nn.BatchNorm2d(6), nn.ReLU(inplace=True)),
        (nn.BatchNorm2d(6), nn.LeakyReLU(0.3), nn.MaxPool2d(2)),
        (nn.PReLU(6), nn.AvgPool2d(2), nn.Dropout(0.5)),
    ],
    ids=str,
)
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_outputs_stay_and_ranges_meet(between, groups):
    model = seeded(nn.Conv2d(3, 6, 3), *between, nn.Conv2d(6, 12, 3, padding=1, groups=groups))
    made, note = equalized(model)
    assert note == "equalized 1 pairs of layers"
    assert outputs_differ_by(model, made) < 1e-5
    own = made[0].weight.detach().abs().amax((1, 2, 3))
    if between and isinstance(between[0], nn.BatchNorm2d):
        norm = made[1]
        own = own * (norm.weight / (norm.running_var + norm.eps).sqrt()).abs()
    second = made[-1].weight.detach()
    met = torch.stack(  # channel c is seen by its group's rows, in column c of the group
        [
            second[c // (6 // groups) * (12 // groups) :][: 12 // groups, c % (6 // groups)]
            .abs()
            .max()
            for c in range(6)
        ]
    )
    assert own.allclose(met, rtol=0.01)


def test_factors_are_the_square_root_of_the_ranges_ratio():
    model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[16.0], [0.25]]))
        model[2].weight.copy_(torch.tensor([[1.0, 4.0]]))
    made, _ = equalized(model.eval(), torch.ones(2, 1))
    assert made[0].weight.flatten().tolist() == pytest.approx([4, 1])
    assert made[2].weight.flatten().tolist() == pytest.approx([4, 1])


def test_a_chain_of_depthwise_convolutions_settles():
    model = seeded(
        nn.Conv2d(3, 8, 1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 4, 1),
    )
    made, note = equalized(model)
    assert note == "equalized 2 pairs of layers"
    assert outputs_differ_by(model, made) < 1e-5
    assert equalized(made)[0][3].weight.allclose(made[3].weight, rtol=0.05)


def test_relu6_becomes_relu_and_is_told():
    model = seeded(nn.Conv2d(3, 6, 3), nn.ReLU6(), nn.Conv2d(6, 4, 3), nn.ReLU6())
    made, note = equalized(model)
    assert note == "equalized 1 pairs of layers; 1 ReLU6 between them became ReLU"
    assert [type(layer) for layer in made[1::2]] == [nn.ReLU, nn.ReLU6]
    uncapped = copy.deepcopy(model)
    uncapped[1] = nn.ReLU()
    assert outputs_differ_by(uncapped, made) < 1e-5
    assert outputs_differ_by(model, made) > 0.01  # activations do exceed 6 here


def test_a_tiny_channel_with_a_bias_is_not_blown_up():
    model = seeded(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3))
    with torch.no_grad():
        model[1].weight[2] = 1e-9
        model[1].bias[2] = 1.0
        reach = float((model[1].bias.abs() + 3 * model[1].weight.abs()).max())
    made, _ = equalized(model)
    assert 1 < float(made[1].bias[2].detach()) <= reach * 1.001
    assert outputs_differ_by(model, made) < 1e-5


def test_dead_channels_stay():
    model = seeded(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3))
    with torch.no_grad():
        model[0].weight[1] = 0
        model[2].weight[:, 3] = 0
    made, _ = equalized(model)
    assert all(parameter.isfinite().all() for parameter in made.parameters())
    assert made[0].bias[1] == model[0].bias[1]
    assert outputs_differ_by(model, made) < 1e-5


class Residual(nn.Module):
    """What the first convolution gives is used twice."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

    def forward(self, x):
        x = self.first(x)
        return x + self.second(x)


class Functional(Residual):
    """Something between the layers that scales, but that is no module."""

    def forward(self, x):
        return self.second(F.gelu(self.first(x)))


class Tied(Residual):
    """Both layers have one weight."""

    def __init__(self):
        super().__init__()
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(x))


class Twice(Residual):
    """The second layer is called two times."""

    def forward(self, x):
        return self.second(self.second(self.first(x)))


class Read(Residual):
    """The weight is used other than by a call."""

    def forward(self, x):
        return self.second(self.first(x)) + self.first.weight.sum()


@pytest.mark.parametrize("kind", [Residual, Functional, Tied, Twice, Read])
def test_what_cannot_be_scaled_is_refused(kind):
    torch.manual_seed(0)
    with pytest.raises(QuantStageError, match="found no two layers of quant_model to equalize"):
        equalized(kind().eval())


@pytest.mark.parametrize("between", [nn.GELU(), nn.Hardswish(), nn.Sigmoid(), nn.InstanceNorm2d(6)])
def test_other_functions_do_not_scale(between):
    with pytest.raises(QuantStageError, match="found no two layers"):
        equalized(seeded(nn.Conv2d(3, 6, 3), between, nn.Conv2d(6, 4, 3)))


class Branching(nn.Module):
    """A model that cannot be traced as a whole, around a part that can."""

    def __init__(self, part, leaks=False):
        super().__init__()
        self.part, self.leaks = part, leaks

    def forward(self, x):
        if x.sum() > 1e9:
            return x
        return (self.part(x), self.part[0](x)) if self.leaks else self.part(x)


def test_a_part_of_an_untraceable_model_is_equalized():
    model = Branching(seeded(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3))).eval()
    made, note = equalized(model)
    assert note == "equalized 1 pairs of layers"
    assert outputs_differ_by(model, made) < 1e-5
    assert not made.part[0].weight.equal(model.part[0].weight)


def test_a_use_that_tracing_does_not_show_is_found():
    part = seeded(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3))
    with pytest.raises(QuantStageError, match="changed the outputs"):
        equalized(Branching(part, leaks=True).eval())


def unequal(seed=0):
    """Two convolutions between which one channel is a thousand times as large as the others."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        *(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3)),
        *(nn.Flatten(), nn.Linear(64, 3)),
    )
    with torch.no_grad():
        model[1].weight[2] *= 1000
        model[3].weight[:, 2] /= 1000
    return model.eval()


def variant(recipe):
    model = unequal()
    images = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        labels = model(images).argmax(1)
    subject = Subject(model, eval_data=[(images, labels)], calibration_data=[images + 0.01])
    return open_store(ONE_THREAD).variant(subject, recipe)


@pytest.mark.parametrize("flow", ["fx", pytest.param("pt2e", marks=pytest.mark.slow)])
def test_an_equalized_variant_keeps_what_a_plain_one_loses(flow):
    plain = variant(Recipe("static", flow=flow))
    equal = variant(Recipe("static", flow=flow, equalize=True))
    images = plain.admitted.first_inputs
    with torch.no_grad():
        exact = plain.fp32.model(images)
    assert sqnr(exact, plain(images)) < 20
    assert sqnr(exact, equal(images)) > 30
    assert "equalized 1 pairs of layers" in equal.notes


def test_an_equalized_variant_is_loaded_with_its_bits(tmp_path):
    own = variant(Recipe("static", equalize=True))
    loaded = load_variant(own.save(tmp_path / "own.pt"), unequal(seed=7))
    images = own.admitted.first_inputs
    assert torch.equal(own(images), loaded(images))


def test_a_model_without_pairs_is_refused():
    model = nn.Sequential(nn.Linear(8, 3)).eval()
    with pytest.raises(QuantStageError, match="found no two layers"):
        toy_variant(Recipe("static", equalize=True), model=model)
