"""FX: what tracing in train mode fixes, what stays whole, what is kept out."""

import pytest
import torch
import torch.nn.functional as F
from quantizable import (
    TUNING,
    Branching,
    Two,
    built,
    decibels,
    decibels_of_conversion,
    images,
    made,
    nudge,
    numbers,
)
from torch import nn

from pytest_quant import Recipe
from pytest_quant.quantize.flows import fx

RATE = 0.5


class Dropping(Two):
    """A dropout between the layers that is on in training only."""

    def __init__(self, drop):
        super().__init__()
        self.drop = drop

    def forward(self, x):
        return self.last(self.drop(self, self.hidden(x)))


DROPOUTS = {
    "F.dropout": lambda model, x: F.dropout(x, RATE, model.training),
    "torch.dropout": lambda model, x: torch.dropout(x, RATE, model.training),
    "torch.dropout by name": lambda model, x: torch.dropout(x, p=RATE, train=model.training),
    "F.alpha_dropout": lambda model, x: F.alpha_dropout(x, RATE, training=model.training),
    "F.feature_dropout": lambda model, x: F.dropout1d(x[..., None], RATE, model.training)[..., 0],
    "attention": lambda model, x: F.scaled_dot_product_attention(
        *[x[:, None, None].expand(-1, 1, 3, -1)] * 3, dropout_p=RATE if model.training else 0.0
    ).sum((1, 2)),
    "attention by place": lambda model, x: F.scaled_dot_product_attention(
        *[x[:, None, None].expand(-1, 1, 3, -1)] * 3, None, RATE if model.training else 0.0
    ).sum((1, 2)),
}


class Attending(nn.Module):
    """Attention over [n, 8, 4], and layers after it."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, dropout=RATE, batch_first=True)
        self.hidden, self.last = nn.Linear(4, 16), nn.Linear(16, 4)

    def forward(self, x):
        x = x[..., None].expand(-1, -1, 4)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.last(torch.relu(self.hidden(x)).mean(1))


class Shared(Two):
    """A layer and a ReLU that are used twice."""

    def __init__(self):
        super().__init__()
        self.twice, self.relu = nn.Linear(16, 16), nn.ReLU()

    def forward(self, x):
        x = self.relu(self.first(x))
        return self.last(self.relu(self.twice(self.relu(self.twice(x)))))


class Mixed(nn.Module):
    """A submodule that FX cannot trace among layers that it can."""

    def __init__(self):
        super().__init__()
        self.before, self.odd, self.after = nn.Conv2d(3, 3, 1), Branching(), nn.Linear(5, 4)

    def forward(self, x):
        return self.after(self.odd(self.before(x)))


@pytest.mark.parametrize("dropout", DROPOUTS)
def test_functional_dropout_is_on_in_training_and_off_after_it(dropout):
    rows_differ = []

    def train(model):
        for x, _ in numbers(3, TUNING):
            model(x)
        rows = model(torch.ones(64, 8))
        rows_differ.append(not torch.equal(rows, rows[:1].expand(64, 4)))
        nudge(model)

    model = made(Dropping, drop=DROPOUTS[dropout])
    variant = built(model, Recipe("qat", flow="fx"), numbers, train=train)
    assert rows_differ == [True]
    x = torch.randn(64, 8)
    for trained in (variant.model, variant.fake_quantized):
        with variant.running():
            assert torch.equal(trained(x), trained(x))
    assert decibels(variant) > 20
    assert decibels_of_conversion(variant) > 25


def test_attention_stays_whole_and_drops_nothing_after_training():
    variant = built(made(Attending), Recipe("qat", flow="fx"), numbers)
    assert decibels_of_conversion(variant) > 25
    assert variant.int8_share.stayed_fp32 == ("attention", "attention.out_proj")
    x = torch.randn(8, 8)
    assert torch.equal(variant(x), variant(x))
    attention = variant.fake_quantized.attention
    assert type(attention) is nn.MultiheadAttention
    assert not any("post_process" in name for name, _ in attention.named_modules())


@pytest.mark.parametrize("kind", ["static", "qat"])
def test_shared_layers_are_int8_at_each_use(kind):
    variant = built(made(Shared), kind, numbers)
    weights = 8 * 16 + 16 * 16 + 16 * 4
    assert variant.int8_share.parameters == weights / (weights + 16 + 16 + 4)
    assert variant.int8_share.macs == 1.0
    assert decibels(variant) > (25 if kind == "static" else 10)


@pytest.mark.parametrize("keep", ["odd", Branching, "od*"])
def test_a_submodule_that_cannot_be_traced_may_be_kept_out(keep):
    variant = built(made(Mixed), Recipe("static", flow="fx", keep_fp32=keep), images)
    assert variant.int8_share.stayed_fp32 == ("odd.conv", "odd.fc")
    assert variant.notes == []
    assert decibels(variant) > 25


def test_what_is_kept_keeps_its_bits_and_its_training():
    model = made(Mixed)
    kept = Recipe("qat", keep_fp32="odd", epochs=1)
    variant = built(model, kept, images)
    assert not torch.equal(variant.model.odd.conv.weight, model.odd.conv.weight)  # it was trained
    untouched = built(model, Recipe("static", keep_fp32="odd"), images)
    assert torch.equal(untouched.model.odd.conv.weight, model.odd.conv.weight)


def test_a_model_that_is_one_layer():
    variant = built(made(nn.Linear, 8, 4), "static", numbers)
    assert variant.int8_share.parameters == 32 / 36
    assert decibels(variant) > 25


@pytest.mark.parametrize(
    ("make", "whole"),
    [
        (lambda: nn.Linear(2, 2), True),
        (lambda: nn.MultiheadAttention(2, 1), True),
        (lambda: nn.TransformerEncoderLayer(2, 1), True),
        (lambda: nn.Sequential(nn.Linear(2, 2)), False),
        (lambda: nn.ModuleList([nn.Linear(2, 2)]), False),
        (Two, False),
    ],
)
def test_what_is_one_operation(make, whole):
    assert fx.is_whole(make()) == whole


def test_eval_mode_is_no_reason_to_rewrite_a_graph():
    """Without dropout in it, `set_dropout` changes nothing."""
    module = torch.fx.symbolic_trace(made(Two))
    code = module.code
    fx.set_dropout(module, False)
    assert module.code == code


class Decoding(nn.Module):
    """A transposed convolution with a BatchNorm behind it, as in decoders."""

    def __init__(self, groups=1):
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 8, 2, 2, groups=groups)
        self.norm, self.last = nn.BatchNorm2d(8), nn.Linear(8, 5)

    def forward(self, x):
        x = torch.relu(self.norm(self.up(torch.relu(self.down(x)))))
        return self.last(x.mean((2, 3)))


@pytest.mark.parametrize(("kind", "groups"), [("qat", 1), ("qat", 4), ("static", 4)])
def test_a_batchnorm_that_cannot_be_folded_stays_behind_its_transposed_convolution(kind, groups):
    variant = built(made(Decoding, groups), Recipe(kind, flow="fx"), images)
    assert type(variant.model.norm) is nn.BatchNorm2d
    assert decibels(variant) > 20
    assert "down" not in variant.int8_share.stayed_fp32
