"""Reads: a model may read tensors of its layers besides calling them."""

import copy

import pytest
import torch
import torch.nn.functional as F
from builders import ONE_THREAD, kept_db, open_store, toy_subject
from torch import nn

from pytest_quant import Recipe, load_variant
from pytest_quant.errors import QuantStageError
from pytest_quant.quantize.flows.reads import reads_of

IDS = torch.randint(0, 100, (16, 8), generator=torch.Generator().manual_seed(0))


class Texts(nn.Module):
    """Embeds and mixes; what is read of its layers on the way is `end`'s."""

    def __init__(self, end):
        super().__init__()
        torch.manual_seed(0)
        self.words, self.mix, self.end = nn.Embedding(100, 32), nn.Linear(32, 32), end
        self.first = nn.Linear(32, 32)

    def forward(self, ids):
        x = self.first(self.words(ids))
        return self.end(self, x + torch.tanh(self.mix(x)))


FORMS = {
    "weight.dtype": lambda own, x: x.to(own.mix.weight.dtype),
    "weight.shape": lambda own, x: x[..., : own.mix.weight.shape[0]],
    "weight.size(0)": lambda own, x: x / own.words.weight.size(0),
    "weight.device": lambda own, x: x + torch.arange(32, device=own.words.weight.device),
    "bias.dtype": lambda own, x: x.to(own.mix.bias.dtype),
    "weight.new_zeros": lambda own, x: x + own.mix.weight.new_zeros(32),
    "padding_idx": lambda own, x: x if own.words.padding_idx is None else x * 2,
}
VALUES = {
    "linear of words": (lambda own, x: F.linear(x, own.words.weight), "words"),
    "matmul with mix": (lambda own, x: x @ own.mix.weight, "mix"),
    "bias of mix": (lambda own, x: x + own.mix.bias, "mix"),
    "norm of words": (lambda own, x: x / own.words.weight.norm(), "words"),
    "rows of words": (lambda own, x: x + own.words.weight[:32].sum(1), "words"),
}


def texts(end):
    model = Texts(end).eval()
    data = [(part, torch.zeros(len(part), dtype=torch.long)) for part in IDS.split(8)]
    other = [part.flip(1) for part, _ in data]
    return toy_subject(model, eval_data=data, calibration_data=other, metric=lambda o, t: t == 0)


@pytest.mark.parametrize("end", FORMS.values(), ids=FORMS)
def test_a_layer_whose_weights_form_alone_is_read_becomes_int8(end):
    store = open_store(ONE_THREAD)
    for recipe in (Recipe("dynamic"), Recipe("static", flow="fx")):
        variant = store.variant(texts(end), recipe)
        assert kept_db(variant) > 25
        assert not variant.int8_share.stayed_fp32
        again = copy.deepcopy(variant.model)
        assert torch.equal(again(IDS), variant(IDS))


@pytest.mark.parametrize(
    "end",
    [
        lambda own, x: x / len(own.mix.weight) / own.mix.weight.numel(),
        lambda own, x: F.linear(x, own.mix.weight / len(own.mix.weight)),
    ],
    ids=["form", "values"],
)
def test_where_fx_cannot_trace_the_model_parts_that_are_read_stay_fp32(end):
    parts = open_store(ONE_THREAD).variant(texts(end), Recipe("static", flow="parts"))
    assert kept_db(parts) > 20
    assert "mix" in parts.int8_share.stayed_fp32
    assert "first" not in parts.int8_share.stayed_fp32


@pytest.mark.parametrize(("end", "layer"), VALUES.values(), ids=VALUES)
def test_a_layer_whose_weights_are_computed_with_stays_fp32_in_dynamic(end, layer):
    store = open_store(ONE_THREAD)
    dynamic = store.variant(texts(end), Recipe("dynamic"))
    assert kept_db(dynamic) > 25
    assert dynamic.int8_share.stayed_fp32 == (layer,)
    assert kept_db(store.variant(texts(end), Recipe("static", flow="fx"))) > 20


def test_reading_inside_the_layer_itself_is_no_reading():
    model = Texts(lambda own, x: x)
    assert reads_of(model, ["words", "mix"], lambda: model(IDS)) == {}


def test_what_is_read_is_told_by_layer_and_name_and_leaves_no_trace():
    model = Texts(lambda own, x: F.linear(x, own.words.weight).to(own.mix.bias.dtype))
    found = reads_of(model, ["words", "mix"], lambda: model(IDS))
    assert found == {"words": {"weight": True}, "mix": {"bias": False}}
    assert type(model.words) is nn.Embedding
    assert not model.words._forward_hooks


def test_a_model_all_of_whose_layers_are_read_is_told_so():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(100, 32)

        def forward(self, ids):
            return F.linear(self.words(ids), self.words.weight)

    data = [(IDS, IDS[:, 0])]
    subject = toy_subject(Tied().eval(), eval_data=data, metric=lambda o, t: o.argmax(2)[:, 0] == t)
    with pytest.raises(QuantStageError, match="computes with the weights of words itself"):
        open_store(ONE_THREAD).variant(subject, Recipe("dynamic"))


def test_a_saved_variant_that_answers_for_its_weights_comes_back(tmp_path):
    subject = texts(FORMS["weight.dtype"])
    dynamic = open_store(ONE_THREAD).variant(subject, Recipe("dynamic"))
    loaded = load_variant(dynamic.save(tmp_path / "texts.pt"), Texts(FORMS["weight.dtype"]))
    assert torch.equal(loaded.model(IDS), dynamic(IDS))


class Recurrent(nn.Module):
    """Makes its first state of the type and on the device of its parameters."""

    def __init__(self, state=lambda parameter: parameter.new_zeros(1, 16, 32)):
        super().__init__()
        torch.manual_seed(0)
        self.words, self.state = nn.Embedding(100, 32), state
        self.steps, self.head = nn.LSTM(32, 32, batch_first=True), nn.Linear(32, 2)

    def forward(self, ids):
        state = self.state(next(self.parameters()))
        return self.head(self.steps(self.words(ids), (state, state))[0][:, -1])


def test_a_model_that_asks_for_its_first_parameter_is_answered_when_all_are_int8(tmp_path):
    subject = toy_subject(Recurrent().eval(), eval_data=[(IDS, IDS[:, 0] % 2)])
    dynamic = open_store(ONE_THREAD).variant(subject, Recipe("dynamic"))
    assert kept_db(dynamic) > 25
    assert not dynamic.int8_share.stayed_fp32
    loaded = load_variant(dynamic.save(tmp_path / "first.pt"), Recurrent())
    assert torch.equal(loaded.model(IDS), dynamic(IDS))


def test_a_model_that_computes_with_its_first_parameter_is_no_other_one():
    model = Recurrent(lambda parameter: parameter.new_zeros(1, 16, 32) + parameter.mean()).eval()
    subject = toy_subject(model, eval_data=[(IDS, IDS[:, 0] % 2)])
    with pytest.raises(QuantStageError, match="what cannot run"):
        open_store(ONE_THREAD).variant(subject, Recipe("dynamic"))
