"""Baked: weights that a model computes at each call are plain in our copy, and give the same outputs."""

import copy

import pytest
import torch
from builders import ONE_THREAD, kept_db, open_store, toy_subject
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

from pytest_quant import Recipe, load_variant
from pytest_quant.subject.baked import bake_in
from pytest_quant.subject.fp32_copy import fp32_copy

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*spectral_norm.* is deprecated:FutureWarning"),
]
X = torch.randn(16, 2, 8, generator=torch.Generator().manual_seed(0))


class Symmetric(nn.Module):
    def forward(self, weight):
        return weight.triu() + weight.triu(1).T


class Scaled(nn.Module):
    """Has a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, weight):
        return weight * self.scale


class Noisy(nn.Module):
    def forward(self, weight):
        return weight + 0.01 * torch.randn_like(weight)


def custom(layer, name="weight"):
    parametrize.register_parametrization(layer, name, Scaled())
    return layer


def doubly(layer):
    return custom(custom(parametrizations.weight_norm(layer)), "bias")


def symmetric(layer):
    if layer.weight.shape[0] == layer.weight.shape[1]:
        parametrize.register_parametrization(layer, "weight", Symmetric())
    return layer


def pruned(layer):
    prune.l1_unstructured(layer, "weight", 0.3)
    return layer


WAYS = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "own": custom,
    "own on weight and bias": doubly,
    "symmetric": symmetric,
    "older weight_norm": weight_norm,
    "older spectral_norm": spectral_norm,
    "pruned": pruned,
    "pruned under weight_norm": lambda layer: weight_norm(pruned(layer), "bias", dim=None),
}


class Layers(nn.Module):
    """A convolution, a recurrent layer and two Linear ones, each under `way`."""

    def __init__(self, way, recurrent=lambda layer: layer):
        super().__init__()
        torch.manual_seed(0)
        self.conv = way(nn.Conv1d(2, 8, 3, padding=1))
        self.lstm = recurrent(nn.LSTM(8, 8, batch_first=True))
        self.body = nn.Sequential(way(nn.Linear(8, 8)), nn.ReLU(), way(nn.Linear(8, 3)))

    def forward(self, x):
        x, _ = self.lstm(torch.relu(self.conv(x)).transpose(1, 2))
        return self.body(x[:, -1])


def subject_of(model):
    model.eval()
    data = [(part, model(part).detach().argmax(1)) for part in X.split(8)]
    trained = [(part.flip(0) + 0.1, target) for part, target in data]
    return toy_subject(model, eval_data=data, train_data=trained, calibration_data=[X.flip(2)])


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_the_copy_computes_the_same_with_layers_of_pytorchs_own(way):
    model = Layers(way)
    model(X).sum().backward()  # as after training: what was computed has a history
    model.eval()
    before, kinds = model(X).detach(), [type(child) for child in model.modules()]
    copied, notes = fp32_copy(model)
    assert torch.equal(copied(X), before)
    assert {type(child) for child in copied.body} == {nn.Linear, nn.ReLU}
    assert not any(parametrize.is_parametrized(child) for child in copied.modules())
    assert all(isinstance(layer.weight, nn.Parameter) for layer in (copied.conv, copied.body[0]))
    assert "anew at each call" in notes[0]
    assert copy.deepcopy(copied)(X).shape == before.shape
    assert [type(child) for child in model.modules()] == kinds  # the user's is what it was
    assert torch.equal(model(X), before)
    model.train()(X).sum().backward()


RECURRENT = {
    "weight_norm": lambda lstm: parametrizations.weight_norm(lstm, "weight_hh_l0"),
    "older weight_norm": lambda lstm: weight_norm(lstm, "weight_hh_l0"),
    "older spectral_norm": lambda lstm: spectral_norm(lstm, "weight_ih_l0"),
    "own": lambda lstm: custom(lstm, "weight_ih_l0"),
}


@pytest.mark.parametrize("recurrent", RECURRENT.values(), ids=RECURRENT)
def test_recurrent_layers_too(recurrent):
    model = Layers(lambda layer: layer, recurrent).eval()
    before = model(X)
    copied, _ = fp32_copy(model)
    assert torch.equal(copied(X), before)
    assert type(copied.lstm) is nn.LSTM
    dynamic = open_store(ONE_THREAD).variant(subject_of(model), Recipe("dynamic"))
    assert kept_db(dynamic) > 15
    assert "lstm" not in dynamic.int8_share.stayed_fp32
    assert torch.equal(model(X), before)


@pytest.mark.parametrize("way", ["weight_norm", "older weight_norm", "older spectral_norm", "own"])
def test_every_kind_quantizes_them(way, tmp_path):
    subject = subject_of(Layers(WAYS[way]))
    store = open_store(ONE_THREAD)
    dynamic = store.variant(subject, Recipe("dynamic"))
    assert kept_db(dynamic) > 20
    assert dynamic.int8_share.stayed_fp32 == ("conv",)
    static = store.variant(subject, Recipe("static", flow="fx"))
    assert kept_db(static) > 15
    assert not {"conv", "body.0", "body.2"} & {*static.int8_share.stayed_fp32}
    assert kept_db(store.variant(subject, Recipe("qat", flow="fx", epochs=1, lr=1e-6))) > 15
    loaded = load_variant(dynamic.save(tmp_path / "layers.pt"), Layers(WAYS[way]))
    assert torch.equal(loaded.model(X), dynamic(X))


def test_what_is_random_stays_as_it_is():
    layer = nn.Linear(8, 8)
    parametrize.register_parametrization(layer, "weight", Noisy())
    assert bake_in(nn.Sequential(layer)) == []
    assert parametrize.is_parametrized(layer)


def test_a_model_without_any_is_copied_without_a_word():
    assert fp32_copy(Layers(lambda layer: layer).eval())[1] == []


KEPT = {"in a list": lambda output: [output], "in a dict": lambda output: {"first": output}}


@pytest.mark.parametrize("kept", KEPT.values(), ids=KEPT)
def test_a_model_that_keeps_what_it_computed_can_be_copied(kept):
    model = nn.Sequential(nn.Linear(8, 4), nn.ReLU())
    model.features = kept(model(torch.ones(2, 8)))
    copied, _ = fp32_copy(model)
    assert torch.equal(copied[0].weight, model[0].weight)
