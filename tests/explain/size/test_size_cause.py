"""Tensors: which layers hold the bytes, which are still FP32, and how small a kind could make it."""

import json

import pytest
import torch
from builders import toy_variant, unquantized_variant
from quantizable import (
    Checking,
    Convolutional,
    Stubbed,
    Tagger,
    anything,
    built,
    classes,
    images,
    made,
    normal,
    tokens,
)
from torch import nn

from pytest_quant import Recipe
from pytest_quant.explain.size.attainable import least_bytes
from pytest_quant.explain.size.layer_bytes import held_by, shared_by_layers
from pytest_quant.explain.size.size_cause import Tensors, left_in_float, weigh, within

ROWS, WIDTH = 500, 32


class Top(nn.Module):
    """On [n, 8]: one Linear holds nine tenths of the bytes."""

    def __init__(self):
        super().__init__()
        self.body, self.top = nn.Linear(8, 64), nn.Linear(64, 400)
        self.last = nn.Linear(400, 4)

    def forward(self, x):
        return self.last(torch.relu(self.top(torch.relu(self.body(x)))))


class Embedded(nn.Module):
    """On tokens [n, 7] of 500: the embedding holds nearly all bytes."""

    def __init__(self):
        super().__init__()
        self.embed, self.fc = nn.Embedding(ROWS, WIDTH), nn.Linear(WIDTH, 4)

    def forward(self, ids):
        return self.fc(self.embed(ids).mean(1))


class Tied(nn.Module):
    """On [n, 8]: two layers with one weight, and a buffer that is a view of it."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
        self.second.weight = self.first.weight
        self.register_buffer("upper", self.first.weight.detach()[:4])

    def forward(self, x):
        return self.second(self.first(x))


def numbers(seed, sizes=(8, 8)):
    return normal((8,), seed, sizes)


def words(seed, sizes=(8, 8)):
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randint(0, ROWS, (n, 7), generator=generator), classes(n, seed)) for n in sizes]


def variant_of(model, recipe, data=numbers):
    return built(made(model), recipe, data, metric=anything)


def found(model, recipe, data=numbers):
    return weigh(variant_of(model, recipe, data))


SUMS = [
    (Convolutional, "static", images),
    (Convolutional, "dynamic", images),
    (Stubbed, "static", images),
    (Checking, Recipe("static", flow="parts"), images),
    (Tagger, "dynamic", tokens),
    (Tagger, Recipe("weight_only", dtype="int4"), tokens),
    (Embedded, "static", words),
    (Top, "cast", numbers),
    (Top, Recipe("weight_only", dtype="codebook"), numbers),
    (Tied, Recipe("custom", build=lambda module: module), numbers),
    (Tied, "dynamic", numbers),
]


@pytest.mark.parametrize(("model", "recipe", "data"), SUMS)
def test_what_the_layers_hold_is_the_variants_size(model, recipe, data):
    variant = variant_of(model, recipe, data)
    tensors = weigh(variant)
    assert sum(held.bytes for held in tensors.held) == variant.size.tensor_bytes == tensors.bytes
    fp32 = weigh(variant.fp32)
    assert sum(held.bytes for held in fp32.held) == variant.fp32.size.tensor_bytes


def test_the_layer_that_was_kept_is_named_with_what_it_costs():
    tensors = found(Top, Recipe("static", keep_fp32="top"))
    largest = tensors.held[0]
    assert (largest.layer, largest.type, largest.dtype) == ("top", "Linear", "FP32")
    assert largest.bytes == 4 * (64 * 400 + 400)
    assert largest.bytes > 0.9 * tensors.bytes
    assert "top (Linear, 0.10 MB)" in tensors.sentences[0]
    assert tensors.sentences[1].startswith(
        "keep_fp32 keeps top; without it the model would be 0.07"
    )


def test_small_layers_that_are_kept_count_together():
    class Many(nn.Module):
        def __init__(self):
            super().__init__()
            self.small = nn.ModuleList(nn.Linear(8, 8) for _ in range(40))
            self.large = nn.Linear(8, 2000)

        def forward(self, x):
            for layer in self.small:
                x = layer(x)
            return self.large(x)

    sentence = found(Many, Recipe("dynamic", keep_fp32="small.*")).sentences[1]
    assert sentence.startswith("keep_fp32 keeps small.0, small.1, small.2 and 37 more; without it")


def test_what_an_own_build_leaves_is_said_to_be_its_own_doing():
    tensors = found(Top, Recipe("custom", build=lambda module: nn.Sequential(module)))
    assert tensors.sentences[1] == "the recipe's own build has left top, last, body FP32."


def test_the_least_ratio_is_what_the_variant_has_when_all_is_quantized():
    kept = found(Top, Recipe("dynamic", keep_fp32="top"))
    whole = found(Top, "dynamic")
    assert kept.least_ratio == pytest.approx(whole.ratio, abs=0.001)
    assert whole.least_ratio == whole.ratio
    assert kept.ratio > 2.5 * kept.least_ratio


@pytest.mark.parametrize(
    ("kind", "model", "data"),
    [
        ("dynamic", Embedded, words),
        ("static", Embedded, words),
        ("static", Top, numbers),
        ("dynamic", Top, numbers),
        ("dynamic", Tagger, tokens),
        ("weight_only", Embedded, words),
    ],
)
def test_what_a_kind_could_reach_is_foretold_from_fp32(kind, model, data):
    variant = variant_of(model, kind, data)
    foretold = least_bytes(variant.facts, held_by(variant.fp32))
    assert foretold == pytest.approx(variant.size.tensor_bytes, rel=0.05)


class Shared(nn.Module):
    """Two layers with one weight."""

    def __init__(self):
        super().__init__()
        self.wide = nn.Linear(8, 16)
        self.first, self.between = nn.Linear(16, 256, bias=False), nn.Linear(256, 16)
        self.again, self.head = nn.Linear(16, 256, bias=False), nn.Linear(256, 3)
        self.again.weight = self.first.weight

    def forward(self, x):
        x = self.between(torch.relu(self.first(self.wide(x))))
        return self.head(torch.relu(self.again(torch.relu(x))))


@pytest.mark.parametrize("kind", ["dynamic", "static", "weight_only"])
def test_a_weight_that_layers_share_is_foretold_for_each_where_each_packs_its_own(kind):
    variant = toy_variant(kind, model=Shared().eval())
    parts, shared = held_by(variant.fp32), shared_by_layers(variant.fp32.model)
    assert [(held.layer, first) for held, first in shared] == [("again", "Linear")]
    foretold = least_bytes(variant.facts, parts, shared=shared)
    assert foretold == pytest.approx(variant.size.tensor_bytes, rel=0.05)
    assert (foretold > 1.2 * least_bytes(variant.facts, parts)) is (kind != "weight_only")


class Normed(nn.Module):
    """As MobileNets have it: small convolutions whose BatchNorms are a tenth of the bytes."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(3, 16, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.Conv2d(16, 32, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU()),
        )
        self.head = nn.Linear(32, 3)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


def test_a_batchnorm_is_foretold_to_be_folded():
    variant = variant_of(Normed, "static", images)
    parts = held_by(variant.fp32)
    foretold = least_bytes(variant.facts, parts, unbuilt=True)
    assert foretold == pytest.approx(variant.size.tensor_bytes, rel=0.1)
    assert least_bytes(variant.facts, parts) > 1.3 * foretold


def test_a_limit_that_cannot_be_met_is_told():
    tensors = found(Convolutional, "dynamic", images)
    assert tensors.least_ratio == tensors.ratio > 0.9
    text = tensors.sentences[-1]
    assert f"would be {tensors.ratio:.3f} of FP32" in text
    assert "cannot meet a limit below that" in text
    assert "Recipe('static') could come to about" in text


@pytest.mark.parametrize(
    ("most", "kind"),
    [(0.3, "static"), (0.5, "static"), (0.01, None)],
    ids=["just", "ample", "none"],
)
def test_only_what_could_hold_a_limit_is_proposed(most, kind):
    variant = variant_of(Convolutional, "dynamic", images)
    fp32 = variant.fp32.size.tensor_bytes
    foretold = least_bytes(variant.facts_of(Recipe("static")), held_by(variant.fp32), unbuilt=True)
    assert 0.01 < foretold / fp32 < 0.5
    fitting = within(variant, Recipe("static"), max(most * fp32, foretold if kind else 0))
    assert (fitting and fitting.kind) == kind


def test_another_kind_is_proposed_where_the_first_is_too_large():
    variant = variant_of(Top, "static")
    fp32 = variant.fp32.size.tensor_bytes
    fitting = within(variant, Recipe("weight_only"), 0.2 * fp32)
    assert fitting == Recipe("weight_only", dtype="int4")


def test_an_lstm_that_static_leaves_in_float_is_left_to_dynamic():
    variant = variant_of(Tagger, "static", tokens)
    sentence, recipe = left_in_float(variant, weigh(variant))
    assert "does not take LSTM layers; Recipe('dynamic') does." in sentence
    assert recipe == Recipe("dynamic")


def test_convolutions_under_dynamic_quantization_are_left_to_static():
    tensors = found(Convolutional, "dynamic", images)
    assert tensors.sentences[1] == "dynamic does not take Conv2d layers; Recipe('static') does."


def test_attention_is_left_to_weight_only():
    class Seeing(nn.Module):
        def __init__(self):
            super().__init__()
            self.seen, self.fc = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 4)

        def forward(self, x):
            x = x[:, None]
            return self.fc(self.seen(x, x, x, need_weights=False)[0][:, 0])

    text = found(Seeing, "dynamic").sentences[1]
    assert "does not take MultiheadAttention, Linear of attention layers" in text
    assert "Recipe('weight_only') does" in text


def test_a_model_that_is_all_int8_says_so():
    tensors = found(Embedded, "dynamic", words)
    assert tensors.float_bytes < 0.05 * tensors.bytes
    assert "fewer bits than FP32 already" in tensors.sentences[0]


def test_a_dynamic_lstm_is_one_layer_with_int8_weights():
    held = {(each.layer, each.dtype): each for each in found(Tagger, "dynamic", tokens).held}
    assert held["lstm", "int8"].bytes == 4 * 32 * 8
    assert held["embed", "int8"].type == "Embedding"


def test_what_a_wrapper_holds_goes_by_the_users_names():
    class Wrapper(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module.bfloat16()

        def forward(self, x):
            return self.module(x.bfloat16()).float()

    tensors = found(Top, Recipe("custom", build=Wrapper))
    assert {each.layer for each in tensors.held} == {"body", "top", "last"}
    assert {each.dtype for each in tensors.held} == {"bfloat16"}
    assert tensors.least_ratio is None


def test_a_part_of_a_model_that_fx_took_goes_by_the_users_names():
    tensors = found(Checking, Recipe("static", flow="parts"), images)
    held = {(each.layer, each.dtype): each for each in tensors.held}
    assert held["fc", "int8"].type == "Linear"
    assert held["conv", "int8"].type == "Conv2d"


def test_fp32_itself_is_told_what_each_kind_could_reach():
    tensors = weigh(toy_variant().fp32)
    assert tensors.ratio == 1
    assert tensors.least_ratio is None
    assert "Recipe('static')" in tensors.sentences[1]


def test_what_no_flow_took_is_named():
    tensors = weigh(unquantized_variant("static"))
    assert tensors.float_bytes == tensors.bytes
    assert "found no way to take 0" in tensors.sentences[1]


def test_of_a_callable_without_tensors_it_is_a_note():
    tensors = found(Top, Recipe("custom", build=lambda module: lambda x: module(x)))
    assert tensors.sentences == ()
    assert "not a torch.nn.Module" in tensors.notes[0]


def test_a_callable_that_knows_its_size_has_that_and_no_layers():
    class Sized:
        size_bytes = 1234

        def __init__(self, module):
            self.module = module

        def __call__(self, x):
            return self.module(x)

    tensors = found(Top, Recipe("custom", build=Sized))
    assert tensors.bytes == 1234
    assert tensors.held == ()
    assert "cannot be seen" in tensors.notes[0]


def test_the_table_shows_few_and_counts_the_rest():
    tensors = found(Convolutional, "static", images)
    assert len(tensors.held) > 3
    lines = tensors.table(3).splitlines()
    assert len(lines) == 2 + 3 + 1
    assert lines[-1].startswith(f"... and {len(tensors.held) - 3} more with ")


def test_it_is_plain_json_and_comes_back():
    tensors = found(Top, Recipe("static", keep_fp32="top"))
    assert Tensors.from_dict(json.loads(json.dumps(tensors.to_dict()))) == tensors


@pytest.mark.slow
def test_a_compiled_graph_goes_by_the_users_names():
    variant = variant_of(Embedded, Recipe("static", flow="pt2e"), words)
    tensors = weigh(variant)
    held = {(each.layer, each.dtype): each for each in tensors.held}
    assert sum(each.bytes for each in tensors.held) == variant.size.tensor_bytes
    assert held["fc", "int8"].bytes == 4 * WIDTH
    assert held["embed", "FP32"].bytes == 4 * ROWS * WIDTH
    assert "static in flow pt2e does not take Embedding layers" in tensors.sentences[1]
    assert "Recipe('static', flow='fx') does" in tensors.sentences[1]
