"""LayerTracking: chains of layer, BatchNorm and ReLU, whatever the code looks like."""

import pytest
import torch
from torch.nn import functional as F

from pytest_quant.explain.lost.tracking import LayerTracking

nn = torch.nn


class Told(LayerTracking):
    """Notes what it is told."""

    def __init__(self, model):
        super().__init__({id(m.weight): n for n, m in model.named_modules() if is_layer(m)})
        self.told = []
        self.scales = {}

    def entering(self, layer, values, site, tag):
        self.told.append((layer, site))
        return values

    def leaving(self, values, tag):
        self.told.append(("left", tag.site))
        return values

    def normalized(self, layer, scale):
        self.scales[layer] = scale


def is_layer(module):
    return isinstance(module, nn.Linear | nn.Conv2d)


def told(model, x):
    watch = Told(model.eval())
    with torch.inference_mode():
        outputs = watch.forward(lambda: model(x))
        assert torch.equal(outputs, model(x))
    return watch


class Chain(nn.Module):
    def __init__(self, relu, pool):
        super().__init__()
        self.one, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.two = nn.Conv2d(4, 2, 1)
        self.relu, self.pool = relu, pool

    def forward(self, x):
        return self.two(self.pool(self.relu(self.norm(self.one(x)))))


@pytest.mark.parametrize(
    "relu", [nn.ReLU(), nn.ReLU(inplace=True), F.relu, torch.relu, lambda x: x.relu()]
)
@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.Identity(), nn.Dropout()])
def test_an_output_is_followed_through_norm_and_relu_and_what_moves_values(relu, pool):
    watch = told(Chain(relu, pool), torch.randn(2, 3, 4, 4))
    assert watch.told == [
        ("one", ("one", "input", 0)),
        ("two", ("one", "output", 0)),
        ("left", ("two", "output", 0)),
    ]


def test_the_scale_of_a_batchnorm_is_its_weight_over_the_deviation():
    model = Chain(nn.ReLU(), nn.Identity())
    with torch.no_grad():
        model.norm.weight.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
        model.norm.running_var.copy_(torch.tensor([1.0, 4.0, 9.0, 1.0]))
    scales = told(model, torch.randn(2, 3, 4, 4)).scales
    assert scales.keys() == {"one"}
    assert scales["one"].tolist() == pytest.approx([1, 1, 1, 4], rel=1e-4)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = (nn.Linear(4, 4) for _ in range(3))

    def forward(self, x):
        x = F.relu(self.one(x))
        x = x + self.two(x)
        return self.three(F.relu(x))


def test_an_addition_takes_a_layers_output_and_has_a_place_of_its_own():
    told_of = told(Residual(), torch.randn(2, 4)).told
    assert ("two", ("one", "output", 0)) in told_of
    assert ("left", ("one", "output", 0)) in told_of
    assert ("left", ("two", "output", 0)) in told_of
    (place,) = [site for who, site in told_of if who == "three"]
    assert place[0] == ""


class InPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        y = self.one(x)
        y += x
        y.mul_(2.0)
        return self.two(y)


def test_what_is_changed_in_place_is_what_goes_on():
    watch = told(InPlace(), torch.randn(2, 4))
    assert ("left", ("one", "output", 0)) in watch.told


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(self.layer(x))


def test_each_call_of_a_shared_layer_has_its_own_places():
    told_of = told(Twice(), torch.randn(2, 4)).told
    assert told_of == [
        ("layer", ("layer", "input", 0)),
        ("layer", ("layer", "output", 0)),
        ("left", ("layer", "output", 1)),
    ]


class Unusual(nn.Module):
    """Names its arguments, normalizes without statistics, writes into a part of a tensor."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
        self.norm = nn.BatchNorm2d(4, track_running_stats=False)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = self.two(self.norm(self.one(x)))
        x[:, :2] = torch.sigmoid(x[:, :2])
        return self.head(torch.mean(input=x, dim=(2, 3)))


def test_named_arguments_and_a_norm_without_statistics_are_no_obstacle():
    watch = told(Unusual(), torch.randn(2, 3, 4, 4))
    assert [who for who, _ in watch.told if who != "left"] == ["one", "two", "head"]
    assert watch.scales == {}


class Halving(LayerTracking):
    """Gives away half of what layers make."""

    def leaving(self, values, tag):
        return values / 2


def test_what_is_written_into_a_part_of_an_output_stays_in_it():
    class Writing(nn.Module):
        def __init__(self):
            super().__init__()
            self.one = nn.Linear(4, 4)

        def forward(self, x):
            y = self.one(x)
            y[:, 0] = 7.0
            return y

    model, x = Writing(), torch.randn(2, 4)
    with torch.inference_mode():
        outputs = Halving({id(model.one.weight): "one"}).forward(lambda: model(x))
        assert outputs[:, 0].tolist() == [7.0, 7.0]
        assert torch.equal(outputs[:, 1:], model.one(x)[:, 1:] / 2)
