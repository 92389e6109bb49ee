"""Bias correction: the mean error of rounded weights is gone, and the weights are as they were."""

import copy

import pytest
import torch
from torch import nn

from pytest_quant.conditions import known_warnings_silenced
from pytest_quant.quantize.bias import correct_biases
from pytest_quant.quantize.flows.example import Example
from pytest_quant.recipe import Recipe


@pytest.fixture(autouse=True)
def _silenced():
    with known_warnings_silenced():
        yield


def images(seed, samples=32):
    """Not centred, so that errors of weights have a mean."""
    return torch.rand(samples, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) + 1


def small_net(seed=0):
    torch.manual_seed(seed)
    conv = nn.Conv2d
    layers = [conv(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), conv(8, 8, 3), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    with torch.no_grad():
        model[0].weight[0] *= 40  # so that one scale for the tensor fits the others badly
        model[1].running_var.uniform_(0.5, 2)
        model[1].weight.uniform_(-1, 2)
    return model.eval()


def corrected(model, batches, **recipe):
    copied = copy.deepcopy(model)
    result = correct_biases(
        copied,
        Example((batches[0],), {}, None),
        Recipe("static", **recipe),
        "x86",
        lambda model: [model(batch) for batch in batches],
    )
    with torch.no_grad():
        assert all(out.equal(model(x)) for out, x in zip(result, batches, strict=True))
    return copied


def rounded(model, per_channel):
    """The model with weights as int8 has them, by hand: BatchNorm folded, symmetric, 127.5 steps."""
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for index, layer in enumerate(copied):
            if not isinstance(layer, nn.Conv2d | nn.Linear):
                continue
            after = copied[index + 1] if index + 1 < len(copied) else None
            scale = torch.ones(len(layer.weight))
            if isinstance(after, nn.BatchNorm2d):
                scale = after.weight / (after.running_var + after.eps).sqrt()
            scale = scale.view(-1, *[1] * (layer.weight.ndim - 1))
            folded = layer.weight * scale
            largest = folded.abs().flatten(1).amax(1).view(scale.shape)
            step = (largest if per_channel else folded.abs().max()) / 127.5
            layer.weight.copy_((folded / step).round().clamp(-128, 127) * step / scale)
    return copied


def mean_error(model, other, inputs):
    with torch.no_grad():
        return float((other(inputs) - model(inputs)).mean(0).norm())


@pytest.mark.parametrize("per_channel", [True, False])
def test_the_mean_error_of_unseen_data_shrinks(per_channel):
    model = small_net()
    made = corrected(model, [images(seed) for seed in range(6)], per_channel=per_channel)
    before = mean_error(model, rounded(model, per_channel), images(99, 256))
    after = mean_error(model, rounded(made, per_channel), images(99, 256))
    assert after < before / 4


def test_only_biases_change_and_a_missing_one_is_made():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), nn.Conv2d(4, 2, 3)).eval()
    made = corrected(model, [images(0)])
    assert made[0].weight.equal(model[0].weight)
    assert made[2].weight.equal(model[2].weight)
    assert made[0].bias.shape == (4,)
    assert not made[2].bias.equal(model[2].bias)


def test_a_batchnorms_statistics_stay():
    model = small_net()
    made = corrected(model, [images(0)])
    assert made[0].bias is None
    assert not made[1].bias.equal(model[1].bias)
    assert made[1].running_mean.equal(model[1].running_mean)
    assert made[1].weight.equal(model[1].weight)


def test_kept_layers_are_left():
    model = small_net()
    made = corrected(model, [images(0)], keep_fp32=("7",))
    assert made[7].bias.equal(model[7].bias)
    assert not made[3].bias.equal(model[3].bias)


def test_exact_weights_need_no_correction():
    model = nn.Sequential(nn.Linear(3, 2)).eval()
    step = 2.0**-5
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[127, 3, -5], [-127.0, 60, 1]]) * step * 127.5 / 127)
    made = corrected(rounded(model, True), [torch.rand(64, 3)])
    assert made[0].bias.allclose(model[0].bias, atol=1e-5)


class Loop(nn.Module):
    """One layer, called twice."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x):
        return self.layer(self.layer(x).relu())


def test_a_layer_that_is_called_twice_gets_the_mean_of_both():
    torch.manual_seed(0)
    model, batch = Loop().eval(), torch.rand(64, 3)
    made = corrected(model, [batch])
    weight = rounded(nn.Sequential(model.layer), True)[0].weight
    with torch.no_grad():
        first = model.layer(batch)
        shift = ((batch @ weight.T + model.layer.bias) - first).mean(0)
        inner = (batch @ weight.T + model.layer.bias - shift).relu()
        second = (inner @ weight.T + model.layer.bias - model(batch)).mean(0)
    assert made.layer.bias.allclose(model.layer.bias - (shift + second) / 2, atol=1e-6)
