"""PT2E and attention: its projections become int8, and keep FP32 by the user's names, as any Linear."""

import pytest
import torch
import torch.nn.functional as F
from quantizable import SIZES, built, decibels, made, normal
from torch import nn

from pytest_quant import Recipe

WIDTH, WORDS, HIDDEN = 32, 6, 64
SQUARE = WIDTH * WIDTH  # of a projection's weight
HEAD = WIDTH * 4
STATIC = Recipe("static", flow="pt2e")
KINDS = {
    "static": STATIC,
    "dynamic": Recipe("dynamic", flow="pt2e"),
    "qat": Recipe("qat", flow="pt2e", epochs=1),
}


def texts(seed=1, sizes=SIZES):
    """Batches of (inputs [n, words, width], targets [n])."""
    return normal((WORDS, WIDTH), seed, sizes)


class Model(nn.Module):
    """Texts to classes; what happens to the words is up to those that derive from it."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(WIDTH, 4)

    def forward(self, x):
        return self.head(self.words(x).mean(1))


class Attending(Model):
    """PyTorch's attention of words to words, whose projections are one weight."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, 4, batch_first=True)

    def words(self, x):
        return x + self.attention(x, x, x, need_weights=False)[0]


class Encoding(Model):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(WIDTH, 4, HIDDEN, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def words(self, x):
        return self.encoder(x)


class Decoding(Model):
    """Attention of words to other words too, which takes parts of its weight."""

    def __init__(self):
        super().__init__()
        self.decoder = nn.TransformerDecoderLayer(WIDTH, 4, HIDDEN, batch_first=True)

    def words(self, x):
        return self.decoder(x, x[:, :3].sin())


class Crossing(Attending):
    """Keys and values that are not the same words: three parts of one weight."""

    def words(self, x):
        return x + self.attention(x, x[:, :3].sin(), x[:, :3].cos(), need_weights=False)[0]


class Own(Model):
    """A user's attention: by functions, with parameters of the module's own."""

    def __init__(self):
        super().__init__()
        self.inwards = nn.Parameter(torch.randn(3 * WIDTH, WIDTH) / WIDTH**0.5)
        self.outwards = nn.ParameterList([torch.randn(WIDTH, WIDTH) / WIDTH**0.5])

    def words(self, x):
        query, key, value = F.linear(x, self.inwards).chunk(3, -1)
        return x + F.linear(F.scaled_dot_product_attention(query, key, value), self.outwards[0])


class Listed(Model):
    """Layers in a list, which is never called."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in range(2)])

    def words(self, x):
        for block in self.blocks:
            x = torch.relu(block(x))
        return x


BLOCK = 2 * WIDTH * HIDDEN
# model -> weights that are int8, and products of activations: of heads, for each text
TAKEN = {
    Attending: (4 * SQUARE + HEAD, 2 * WORDS * WORDS * WIDTH),
    Encoding: (2 * (4 * SQUARE + BLOCK) + HEAD, 4 * WORDS * WORDS * WIDTH),
    Decoding: (8 * SQUARE + BLOCK + HEAD, 2 * WORDS * (WORDS + 3) * WIDTH),
    Crossing: (4 * SQUARE + HEAD, 2 * WORDS * 3 * WIDTH),
    Own: (4 * SQUARE + HEAD, 2 * WORDS * WORDS * WIDTH),
}


def texts_variant(make, recipe):
    return built(made(make), recipe, texts)


def share_of(variant):
    parameters = sum(parameter.numel() for parameter in variant.fp32.model.parameters())
    return round(variant.int8_share.parameters * parameters)


@pytest.mark.parametrize("make", TAKEN)
def test_all_projections_run_in_int8(make):
    variant = texts_variant(make, STATIC)
    weights, products = TAKEN[make]
    assert share_of(variant) == weights
    assert variant.model.without_kernel == 0
    assert all("norm" in name for name in variant.int8_share.stayed_fp32)
    assert decibels(variant) > 25
    total = 8 * (weights_at_work(make) + products)
    assert variant.int8_share.macs == pytest.approx(1 - 8 * products / total)


def weights_at_work(make):
    """Multiply-adds with weights, for each text."""
    of_others = 2 * SQUARE if make in (Decoding, Crossing) else 0  # of three words
    return WORDS * (TAKEN[make][0] - HEAD - of_others) + 3 * of_others + HEAD


@pytest.mark.parametrize("kind", ["dynamic", "qat"])
@pytest.mark.parametrize("make", [Attending, Own])
def test_they_do_in_dynamic_quantization_and_training_too(make, kind):
    variant = texts_variant(make, KINDS[kind])
    assert share_of(variant) == TAKEN[make][0]
    assert variant.model.without_kernel == 0
    assert decibels(variant) > 25


@pytest.mark.parametrize(
    ("make", "name", "stays"),
    [
        (Attending, "attention", {"attention", "attention.out_proj"}),
        (Attending, "*.out_proj", {"attention.out_proj"}),
        (Attending, nn.MultiheadAttention, {"attention", "attention.out_proj"}),
        (Own, "outwards", {"outwards"}),
        (Listed, "blocks", {"blocks.0", "blocks.1"}),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_they_stay_fp32_by_the_users_names(make, name, stays, strict, monkeypatch):
    export = torch.export.export

    def exported(*args, **kwargs):
        if kwargs["strict"] and not strict:
            raise RuntimeError("not in this test")
        return export(*args, **kwargs)

    monkeypatch.setattr(torch.export, "export", exported)
    variant = texts_variant(make, Recipe("static", flow="pt2e", keep_fp32=name))
    assert set(variant.int8_share.stayed_fp32) == stays
    assert variant.model.without_kernel == 0
    assert decibels(variant) > 25
