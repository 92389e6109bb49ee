"""Tuning: samples, passes and rate are those that the recipe asks for, or it is an error."""

import pytest
import torch
from quantizable import Convolutional, Two, built, images, made, numbers

from pytest_quant import QuantStageError, Recipe


@pytest.mark.parametrize(("samples", "seen"), [(1, 1), (30, 30), (48, 48), (200, 48)])
def test_as_many_samples_calibrate_as_the_recipe_says(samples, seen):
    variant = built(
        made(Convolutional),
        Recipe("static", calibration_samples=samples, observer="minmax"),
        calibration_data=[(images(2, (48,))[0][0] * 3, None)],
    )
    assert len(variant.tuned_on) == seen


def test_more_calibration_samples_than_there_are_is_an_error():
    recipe = Recipe("static", calibration_samples=129)
    sentence = "calibration_samples=129 is more than the 128 samples of quant_calibration_data"
    with pytest.raises(QuantStageError, match=sentence):
        built(made(Convolutional), recipe)


@pytest.mark.parametrize("settings", [{"epochs": 3}, {"lr": 1e-2}])
def test_epochs_and_rate_change_what_is_trained(settings):
    usual, other = (built(made(Two), Recipe("qat", **each), numbers) for each in ({}, settings))
    assert not torch.equal(usual.model.first.weight(), other.model.first.weight())


def test_epochs_are_passes_over_the_training_data():
    def passes(epochs):
        begun = []

        class Data(list):
            def __iter__(self):
                begun.append(epochs)
                return super().__iter__()

        recipe = Recipe("qat", epochs=epochs)
        built(made(Two), recipe, numbers, train_data=Data(numbers(3, (64,))))
        return len(begun)

    assert passes(5) - passes(1) == 4  # beside what looks at the data beforehand


@pytest.mark.parametrize("flow", ["auto", "fx"])
@pytest.mark.parametrize("settings", [{"epochs": 3}, {"lr": 1e-2}, {"epochs": 3, "lr": 1e-2}])
def test_a_loop_of_ones_own_takes_neither(settings, flow):
    called = []
    name = next(iter(settings))
    with pytest.raises(QuantStageError, match=f"{name}=.* has no effect: quant_train is a loop of"):
        built(made(Two), Recipe("qat", flow=flow, **settings), numbers, train=called.append)
    assert not called


class Words(torch.nn.Module):
    def __init__(self, sparse):
        super().__init__()
        self.words = torch.nn.Embedding(50, 8, sparse=sparse)
        self.last = torch.nn.Linear(8, 4)

    def forward(self, ids):
        return self.last(self.words(ids).mean(1))


@pytest.mark.parametrize("flow", ["fx", "parts", "pt2e"])
def test_an_embedding_with_sparse_gradients_is_trained_as_any_other(flow):
    def texts(seed, sizes=(32,)):
        generator = torch.Generator().manual_seed(seed)
        drawn = [torch.randint(0, 50, (size, 6), generator=generator) for size in sizes]
        return [(ids, (ids % 4).mode(1).values) for ids in drawn]

    one, other = (
        built(made(Words, sparse), Recipe("qat", flow=flow), texts) for sparse in (True, False)
    )
    inputs = texts(1)[0][0]
    assert torch.equal(one(inputs), other(inputs))
