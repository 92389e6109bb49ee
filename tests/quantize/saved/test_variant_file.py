"""Saved: a variant comes back from its file bit for bit, and nothing else is touched."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from quantizable import (
    Answering,
    Branching,
    Convolutional,
    Stubbed,
    Tagger,
    Two,
    anything,
    built,
    decibels,
    images,
    made,
    numbers,
    questions,
    tokens,
)
from torch import nn

from pytest_quant import QuantStageError, Recipe, load_variant
from pytest_quant.subject.batches import call, tensors_in


class Embedding(nn.Module):
    """Enough weights for each precision to be smaller."""

    def __init__(self):
        super().__init__()
        self.embed, self.fc = nn.Embedding(64, 48), nn.Linear(48, 64)

    def forward(self, ids):
        return self.fc(self.embed(ids).mean(1))


class Gated(Tagger):
    def __init__(self):
        super().__init__()
        self.lstm = nn.GRU(8, 8, num_layers=2, batch_first=True, bidirectional=True)


class Unsure(nn.Module):
    """A part that is only run for inputs of some kind: not for ones, and not for zeros."""

    def __init__(self):
        super().__init__()
        self.first, self.rare, self.last = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x):
        x, low = torch.relu(self.first(x)), x.min()
        if low < 0:
            x = torch.relu(self.rare(x))
        return self.last(x)


class Packing(Tagger):
    """Sequences with lengths, of which none may be zero."""

    def forward(self, ids, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embed(ids), lengths, batch_first=True, enforce_sorted=False
        )
        _, (state, _) = self.lstm(packed)
        return self.fc(torch.cat([*state], 1))


def lengths(seed=1, sizes=(8, 5)):
    batches = tokens(seed, sizes)
    return [({"ids": ids, "lengths": ids[:, 0] % 7 + 1}, targets) for ids, targets in batches]


MADE = [
    (Two, numbers, Recipe("dynamic")),
    (Two, numbers, Recipe("dynamic", engine="qnnpack", per_channel=False)),
    (Tagger, tokens, Recipe("dynamic")),
    (Gated, tokens, Recipe("dynamic")),
    (Packing, lengths, Recipe("dynamic")),
    (Convolutional, images, Recipe("static")),
    (Convolutional, images, Recipe("static", engine="onednn", keep_fp32=(nn.Linear,))),
    (Convolutional, images, Recipe("static", observer="entropy", qscheme="per_tensor_symmetric")),
    (Convolutional, images, Recipe("qat", per_channel=False)),
    (Answering, questions, Recipe("static")),
    (Answering, questions, Recipe("qat")),
    (Tagger, tokens, Recipe("static")),
    (Stubbed, images, Recipe("static")),
    (Stubbed, images, Recipe("static", keep_fp32=("stem",))),
    (Stubbed, images, Recipe("qat")),
    (Branching, images, Recipe("static", flow="parts")),
    (Branching, images, Recipe("qat", flow="parts", keep_fp32=("f*",))),
    (Unsure, numbers, Recipe("static", flow="parts")),
    (Packing, lengths, Recipe("static", flow="parts")),
    *((Embedding, tokens, Recipe("weight_only", dtype=d)) for d in ("int8", "int4", "float16")),
    (Embedding, tokens, Recipe("weight_only", per_channel=False)),
    *((Embedding, tokens, Recipe("weight_only", dtype="codebook", bits=b)) for b in (2, 5)),
    (Embedding, tokens, Recipe("cast")),
    (Convolutional, images, Recipe("cast", dtype="float16", keep_fp32="fc")),
    (Two, numbers, Recipe("custom", build=lambda module: module)),
]
COMPILED = [
    (Convolutional, images, Recipe("static", flow="pt2e")),
    (Answering, questions, Recipe("static", flow="pt2e", observer="mse")),
    (Two, numbers, Recipe("dynamic", flow="pt2e")),
    (Two, numbers, Recipe("qat", flow="pt2e", keep_fp32=("last",))),
]


def name_of(value):
    return value.label if isinstance(value, Recipe) else value.__name__


def variant_of(make, data, recipe, seed=0):
    metric = anything if issubclass(make, Tagger) or make is Embedding else None
    return built(made(make, seed=seed), recipe, data, metric=metric, loss=loss)


def loss(outputs, targets):
    return nn.functional.cross_entropy(getattr(outputs, "logits", outputs), targets)


def outputs_of(model, inputs):
    return list(tensors_in(call(model, inputs)))


def world():
    """All that building and loading could leave behind."""
    return (
        torch.get_rng_state().tolist(),
        str(np.random.get_state()),
        random.getstate(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.backends.quantized.engine,
        torch.backends.mha.get_fastpath_enabled(),
    )


def round_trip(variant, make, path):
    """What is loaded into a model of other weights gives the same outputs on each eval batch."""
    before = world()
    assert variant.save(path) == Path(path)
    fresh = made(make, seed=9).train()
    torch.set_rng_state(torch.tensor(before[0], dtype=torch.uint8))
    weights = {name: value.clone() for name, value in fresh.state_dict().items()}
    loaded = load_variant(path, fresh)
    assert world() == before
    assert fresh.training
    assert all(torch.equal(fresh.state_dict()[name], value) for name, value in weights.items())
    for batch in variant.subject.eval_data:
        inputs = batch[0] if isinstance(batch, tuple) else dict(list(batch.items())[:2])
        expected, own = outputs_of(variant, inputs), outputs_of(loaded, inputs)
        assert len(expected) == len(own)
        assert all(map(torch.equal, expected, own))
    return loaded


@pytest.mark.parametrize(("make", "data", "recipe"), MADE[:-1], ids=name_of)
def test_what_was_saved_comes_back_bit_for_bit(tmp_path, make, data, recipe):
    variant = variant_of(make, data, recipe)
    loaded = round_trip(variant, make, tmp_path / "variant.pt")
    assert (loaded.recipe.kind, loaded.recipe.flow) == (recipe.kind, variant.recipe.flow)
    assert loaded.torch == torch.__version__
    assert not loaded.model.training


@pytest.mark.slow
@pytest.mark.parametrize(("make", "data", "recipe"), COMPILED, ids=name_of)
def test_what_was_compiled_comes_back_bit_for_bit(tmp_path, make, data, recipe):
    round_trip(variant_of(make, data, recipe), make, tmp_path / "variant.pt")


def test_weights_come_from_the_file_and_not_from_the_model_given(tmp_path):
    """Else the round trips above would prove nothing."""
    first, other = (variant_of(Two, numbers, Recipe("static"), seed=seed) for seed in (0, 1))
    x = torch.randn(4, 8)
    assert not torch.equal(first(x), other(x))
    loaded = load_variant(first.save(tmp_path / "first.pt"), other.subject.model)
    assert torch.equal(loaded(x), first(x))


def test_the_recipe_is_the_one_that_was_taken_with_types_as_names(tmp_path):
    recipe = Recipe("static", keep_fp32=(nn.BatchNorm2d, nn.Linear), calibration_samples=100)
    variant = variant_of(Convolutional, images, recipe)
    loaded = load_variant(variant.save(tmp_path / "v.pt"), Convolutional())
    assert loaded.recipe == Recipe(
        "static",
        flow="fx",
        engine="x86",
        keep_fp32=("fc", "norm"),
        calibration_samples=100,
    )


def test_a_loaded_variant_runs_under_its_own_engine(tmp_path):
    variant = variant_of(Convolutional, images, Recipe("static", engine="onednn"))
    loaded = load_variant(variant.save(tmp_path / "v.pt"), Convolutional())
    assert torch.backends.quantized.engine == "x86"
    with loaded.running():
        assert torch.backends.quantized.engine == "onednn"
    assert decibels(variant) > 25


@pytest.mark.parametrize("place", ["new/folder/v.pt", "v"])
def test_a_path_may_be_text_and_folders_are_made(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    variant = variant_of(Two, numbers, Recipe("dynamic"))
    assert variant.save(place) == Path(place)
    assert Path(place).stat().st_mode & 0o777 == 0o644
    assert load_variant(place, Two())(torch.zeros(1, 8)).shape == (1, 4)


@pytest.mark.parametrize("own", [True, False], ids=["custom", "fp32"])
def test_what_is_the_users_is_not_saved(tmp_path, own):
    variant = variant_of(*MADE[-1])
    with pytest.raises(
        QuantStageError, match=r"save ERROR: .* cannot be saved: .*save it yourself"
    ):
        (variant if own else variant.fp32).save(tmp_path / "v.pt")
    assert list(tmp_path.iterdir()) == []


def test_a_call_that_a_file_cannot_describe_is_refused(tmp_path):
    class Odd(Two):
        def forward(self, x, how):
            return super().forward(x)

    variant = built(
        made(Odd), "dynamic", numbers, forward=lambda model, x: model(x, frozenset({"odd"}))
    )
    with pytest.raises(QuantStageError, match="save ERROR: the model is called with a frozenset"):
        variant.save(tmp_path / "v.pt")
