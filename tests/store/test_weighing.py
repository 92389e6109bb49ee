"""Weighing: another flow is taken where it takes more of the model, or is more exact, and no other way."""

import math

import pytest
import torch

from pytest_quant import Conditions, QuantStageError, Recipe, Subject, open_store
from pytest_quant.store import weighing
from pytest_quant.store.weighing import Weight, is_weighed, weighed


class Planted:
    """A variant of whose multiply-adds a known share became int8, at a known distance from FP32."""

    def __init__(self, flow, share, decibels, kind="static", seconds=0.0):
        self.recipe = Recipe(kind, flow=flow)
        self.share, self.decibels = share, decibels
        self.seconds = {"train": seconds}
        self.facts = type("Facts", (), {"trains": kind == "qat"})
        self.fp32 = type("FP32", (), {"model": torch.nn.Linear(2, 2)})
        self.notes, self.known = [], {}

    def keep(self, name, value):
        self.known[name] = value


@pytest.fixture(autouse=True)
def planted_figures(monkeypatch):
    monkeypatch.setattr(
        weighing, "_weight", lambda variant: Weight(variant, variant.share, variant.decibels)
    )
    monkeypatch.setattr(
        weighing,
        "_leaves_much",
        lambda weight, asked: (
            1 - weight.share > weighing.LEFT or weight.exactness < weighing.INEXACT
        ),
    )
    monkeypatch.setattr(weighing, "flows_after", lambda recipe, module, flow: ("pt2e", "parts"))


def chosen(first, *others, kind="static", static=None, before=()):
    by_flow = {each.recipe.flow: each for each in others}
    uncompiled = {each.recipe.flow: each for each in before}
    tried = []

    def make(recipe, look):
        tried.append(recipe.flow)
        if recipe.flow in uncompiled:
            look(uncompiled[recipe.flow])
        if recipe.flow not in by_flow:
            raise QuantStageError(
                "prepare", f"flow {recipe.flow} cannot take quant_model: too odd."
            )
        return by_flow[recipe.flow]

    best, choice = weighed(first, Recipe(kind), make, lambda recipe: static)
    assert choice.flow == ("auto" if best is first else best.recipe.flow)
    choice.tell(best)
    return best, tried


def test_a_flow_that_takes_nearly_all_is_weighed_against_none():
    first = Planted("fx", 0.93, 30.0)
    best, tried = chosen(first, Planted("pt2e", 1.0, 40.0))
    assert best is first
    assert tried == []
    assert first.notes == []


@pytest.mark.parametrize(
    ("share", "decibels", "wins"),
    [
        (0.5, 31.0, True),  # takes more
        (0.09, 60.0, False),  # takes hardly more, and 60 dB beside 30 says that less is rounded
        (0.5, 23.0, True),  # takes more, and is exact enough
        (0.5, 14.0, False),  # takes more, and is none too exact
        (0.02, 30.0, False),
        (0.0, 60.0, False),  # the first one's 30 dB are enough
    ],
)
def test_what_takes_more_wins_if_it_is_exact_enough(share, decibels, wins):
    other = Planted("pt2e", share, decibels)
    first = Planted("fx", 0.0, 30.0)
    if share == 0.09:
        first.share = 0.2
    best, _ = chosen(first, other)
    assert (best is other) == wins
    (note,) = best.notes
    assert f"pt2e takes {100 * share:.0f} % at {decibels:.0f} dB" in note
    assert f"fx takes {100 * first.share:.0f} % at 30 dB" in note
    assert "parts cannot take quant_model: too odd" in note


def test_what_is_more_exact_wins_where_rounding_explains_little():
    best, _ = chosen(Planted("fx", 1.0, 2.0), Planted("pt2e", 0.98, 31.0))
    assert best.recipe.flow == "pt2e"
    best, _ = chosen(Planted("fx", 1.0, 9.0), Planted("pt2e", 1.0, 14.0))
    assert best.recipe.flow == "fx"
    best, _ = chosen(Planted("fx", 1.0, 9.0), Planted("pt2e", 0.4, math.inf))
    assert best.recipe.flow == "fx"


def test_qat_is_trained_again_by_the_flow_that_static_quantization_chose():
    first = Planted("fx", 0.1, 30.0, "qat")
    better = Planted("pt2e", 0.9, 30.0, "qat")
    best, tried = chosen(first, better, kind="qat", static=Planted("pt2e", 0.9, 30.0))
    assert best is better
    assert tried == ["pt2e"]
    best, tried = chosen(first, better, kind="qat", static=Planted("fx", 0.1, 30.0))
    assert best is first
    assert tried == []


def test_what_took_long_to_train_is_trained_once():
    first = Planted("fx", 0.1, 30.0, "qat", seconds=4000.0)
    best, tried = chosen(first, kind="qat", static=Planted("pt2e", 0.9, 30.0))
    assert best is first
    assert tried == []
    assert "pt2e was not tried, since that takes long" in first.notes[0]


def test_what_is_no_better_is_not_compiled():
    worse = Planted("pt2e", 0.25, 60.0)
    best, tried = chosen(first := Planted("fx", 0.2, 30.0), before=[worse])
    assert best is first
    assert tried == ["pt2e", "parts"]
    assert "; pt2e takes 25 % at 60 dB, parts" in first.notes[0]


@pytest.mark.parametrize("needed", [9.0, 1000.0])
def test_what_takes_too_long_to_compile_is_not_compiled(needed):
    better = Planted("pt2e", 0.9, 30.0)
    better.seconds = {"prepare": needed / 3}
    best, _ = chosen(first := Planted("fx", 0.2, 30.0), better, before=[better])
    assert (best is better) == (needed < weighing.SECONDS)
    if best is first:
        told = "pt2e would take 90 % at 30 dB, but was not compiled, which takes about 1000 s"
        assert told in first.notes[0]


def test_what_is_shown_before_it_is_compiled_computes_what_it_will(monkeypatch):
    """And it has the share that it will have; no kernel is there yet."""
    monkeypatch.undo()
    seen, look = [], weighing._Look.__call__

    def looked(self, variant):
        assert not variant.model._kernels
        look(self, variant)
        seen.append((variant.int8_share.macs, weighing.nearness(variant)))

    monkeypatch.setattr(weighing._Look, "__call__", looked)
    variant = attending(Recipe("static"))
    assert variant.recipe.flow == "pt2e"
    ((share, near),) = seen
    assert share == variant.int8_share.macs
    assert near == pytest.approx(weighing.nearness(variant), abs=1)
    assert len(variant.model._kernels) == 1


def test_only_an_open_flow_is_weighed():
    assert is_weighed(Recipe("static"))
    assert is_weighed(Recipe("qat"))
    assert not is_weighed(Recipe("static", flow="fx"))
    assert not is_weighed(Recipe("dynamic"))
    assert not is_weighed(Recipe("weight_only"))


def attending(recipe):
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    model = torch.nn.Sequential(layer, torch.nn.Flatten(), torch.nn.Linear(16 * 6, 3)).eval()
    x = torch.randn(64, 6, 16)
    subject = Subject(
        model, eval_data=[(x, torch.arange(64) % 3)], calibration_data=[torch.randn(64, 6, 16)]
    )
    return open_store(Conditions(threads=1)).variant(subject, recipe)


def test_attention_is_not_left_to_the_flow_that_skips_it(monkeypatch):
    monkeypatch.undo()
    variant, fx = (attending(Recipe("static", **f)) for f in ({}, {"flow": "fx"}))
    assert fx.int8_share.macs < 0.1
    assert variant.recipe.flow == "pt2e"
    assert variant.int8_share.macs > fx.int8_share.macs + 0.3
    (note,) = [note for note in variant.notes if note.startswith("of the multiply-adds, flow pt2e")]
    assert f"fx takes {100 * fx.int8_share.macs:.0f} %" in note


def test_what_the_recipe_keeps_is_not_missed(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(weighing, "flows_after", lambda *_: pytest.fail("no other flow is needed"))
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.ReLU(), torch.nn.Linear(64, 3))
    subject = Subject(
        model.eval(),
        eval_data=[(torch.randn(64, 8), torch.arange(64) % 3)],
        calibration_data=[torch.randn(64, 8)],
    )
    recipe = Recipe("static", keep_fp32=["0"])
    assert open_store(Conditions(threads=1)).variant(subject, recipe).int8_share.macs < 0.5


def test_where_exactness_is_not_defined_the_share_alone_is_weighed():
    first = Planted("fx", 0.5, math.nan)
    alike, more = Planted("pt2e", 0.52, math.nan), Planted("parts", 0.95, math.nan)
    best, tried = chosen(first, alike, more)
    assert best is more
    assert tried == ["pt2e", "parts"]
    assert best.notes == [
        "of the multiply-adds, flow parts takes 95 %; pt2e takes 52 %, fx takes 50 %"
    ]
