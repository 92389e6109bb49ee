"""First that can: the first flow that can, in order; what is said of those that cannot."""

import importlib.util
import sys
from fnmatch import fnmatchcase

import pytest
import torch
from quantizable import (
    Branching,
    Checking,
    Convolutional,
    Stubbed,
    Two,
    built,
    images,
    made,
    numbers,
)
from torch import nn
from torch.ao.quantization import DeQuantStub, QuantStub

from pytest_quant import QuantStageError, Recipe
from pytest_quant.quantize.flows import eager, fx, parts, pt2e
from pytest_quant.quantize.methods.registry import METHODS

BRANCH, CHECK = "if x.sum() > 0:", "if x.shape[1] != 3:"
NO_TORCHAO = r"it needs torchao \(pip install 'pytest-quant\[pt2e\]'\)"


class FloatHead(Two):
    """Stubs around the first layer only, so that eager mode would give int8 to a float Linear."""

    def __init__(self):
        super().__init__()
        self.quant, self.dequant = QuantStub(), DeQuantStub()

    def forward(self, x):
        return self.last(self.dequant(self.hidden(self.quant(x))))


class Bare(nn.Module):
    """A branch that depends on values, and no submodules."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 8))

    def forward(self, x):
        return x @ self.weight.T if x.sum() > 0 else -x @ self.weight.T


@pytest.fixture
def without(monkeypatch):
    """A function that takes a module away, as where it is not installed."""

    def take(name):
        find = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda n, *a: None if n == name else find(n, *a)
        )
        monkeypatch.setitem(sys.modules, name, None)

    return take


def note_of(variant):
    (note,) = variant.notes
    return note


@pytest.mark.parametrize(
    ("make", "kind", "expected"),
    [
        (Stubbed, "static", ("eager", "fx", "pt2e", "parts")),
        (Convolutional, "static", ("fx", "pt2e", "parts")),
        (Convolutional, "qat", ("fx", "pt2e", "parts")),
        (Convolutional, "dynamic", ("eager",)),
        (Stubbed, "dynamic", ("eager",)),
    ],
)
def test_the_order_depends_on_stubs_and_kind(make, kind, expected):
    assert METHODS[kind, "auto"].order(made(make)) == expected


@pytest.mark.parametrize("flow", ["eager", "fx", "pt2e", "parts"])
def test_a_flow_that_is_named_is_the_only_one(flow, monkeypatch):
    for module in (eager, fx, pt2e, parts):
        monkeypatch.setattr(module, "refusal", lambda *_: "it is switched off")
    with pytest.raises(
        QuantStageError, match=f"flow {flow} cannot take quant_model: it is switched"
    ):
        built(made(Stubbed), Recipe("static", flow=flow))


def test_what_fx_cannot_trace_is_exported():
    variant = built(made(Checking), "static")
    assert (variant.recipe.flow, variant.recipe.engine) == ("pt2e", "onednn")
    assert note_of(variant).startswith("quantized by flow pt2e, since fx cannot trace quant_model:")
    assert f": {CHECK})" in note_of(variant)


def test_what_no_tracer_takes_is_quantized_in_parts():
    variant = built(made(Branching), "static")
    assert (variant.recipe.flow, variant.recipe.engine) == ("parts", "x86")
    fx_said, pt2e_said = note_of(variant).split("; ")
    assert fx_said.startswith("quantized by flow parts, since fx cannot trace quant_model:")
    assert pt2e_said.startswith("pt2e cannot export quant_model:")
    for said in (fx_said, pt2e_said):
        assert "(quantizable.py:" in said
        assert BRANCH in said


@pytest.mark.parametrize("kind", ["static", "qat"])
def test_stubs_that_do_not_fit_lead_to_fx(kind):
    variant = built(made(FloatHead), kind, numbers)
    assert variant.recipe.flow == "fx"
    assert "since eager made of quant_model what cannot run" in note_of(variant)


FX, PT2E = "fx cannot trace quant_model: *", "pt2e cannot export quant_model: *"


@pytest.mark.parametrize(
    ("make", "recipe", "sentence"),
    [
        (
            Two,
            Recipe("static", flow="eager"),
            "eager cannot take quant_model: it has no QuantStub.",
        ),
        (Branching, Recipe("static", flow="fx"), f"{FX}{BRANCH}). Rewrite it *keep_fp32*"),
        (Branching, Recipe("qat", flow="fx"), f"{FX}{BRANCH}). Rewrite it *"),
        (Branching, Recipe("static", flow="pt2e"), f"{PT2E}{BRANCH}). Rewrite it *"),
        (Branching, Recipe("dynamic", flow="pt2e"), f"{PT2E}{BRANCH}). Rewrite it *"),
        (Two, Recipe("static", flow="pt2e", engine="x86"), "pt2e *on engine onednn only, not x86."),
        (
            Two,
            Recipe("static", flow="pt2e", per_channel=False),
            "pt2e *take per_channel=True only.",
        ),
        (Bare, Recipe("static", flow="parts"), "parts *: the model has no submodules."),
    ],
)
def test_a_flow_that_is_named_says_why_it_cannot(make, recipe, sentence):
    with pytest.raises(QuantStageError) as error:
        built(made(make), recipe, images if make is Branching else numbers)
    assert fnmatchcase(str(error.value), f"prepare ERROR: flow {sentence}")


def test_where_no_flow_can_each_ones_reason_is_given():
    with pytest.raises(QuantStageError, match="no flow takes quant_model") as error:
        built(made(Bare), "static", numbers)
    said = str(error.value)
    for reason in ("flow fx cannot trace", "flow pt2e cannot export", "flow parts cannot take"):
        assert said.count(reason) == 1
    assert said.index("flow fx") < said.index("flow pt2e") < said.index("flow parts")


def test_without_torchao_pt2e_says_what_to_install(without):
    without("torchao")
    with pytest.raises(QuantStageError, match=f"flow pt2e cannot take quant_model: {NO_TORCHAO}"):
        built(made(Convolutional), Recipe("static", flow="pt2e"))


def test_without_torchao_the_next_flow_is_taken(without):
    without("torchao")
    variant = built(made(Checking), "static")
    assert variant.recipe.flow == "parts"
    assert "pt2e cannot take quant_model: it needs torchao" in note_of(variant)
    assert built(made(Convolutional), "static").notes == []


def test_without_torchs_fx_quantization_the_model_is_exported(without):
    without("torch.ao.quantization.quantize_fx")
    variant = built(made(Two), "static", numbers)
    assert variant.recipe.flow == "pt2e"
    assert "fx cannot take quant_model: this PyTorch has no FX quantization any more" in note_of(
        variant
    )
    with pytest.raises(QuantStageError, match=r"flow parts cannot take .*no FX quantization"):
        built(made(Two), Recipe("static", flow="parts"), numbers)


def test_without_torchs_quantization_dynamic_is_exported_too(without):
    without("torch.ao.quantization")
    without("torch.ao.quantization.quantize_fx")
    assert built(made(Two), "dynamic", numbers).recipe.flow == "pt2e"
    with pytest.raises(QuantStageError, match=r"flow eager .*no eager mode quantization any more"):
        built(made(Stubbed), Recipe("static", flow="eager"))


@pytest.mark.parametrize("error", [ValueError("too hot"), KeyboardInterrupt()])
def test_what_fails_in_training_fails_at_once(monkeypatch, error):
    tried = []
    for flow in (pt2e, parts):
        monkeypatch.setattr(flow, "refusal", lambda *_: tried.append(1))

    def train(model):
        raise error

    with pytest.raises((QuantStageError, KeyboardInterrupt), match=r"train ERROR.*too hot|^$"):
        built(made(Two), "qat", numbers, train=train)
    assert not tried


def broken(*arguments):
    raise RuntimeError("a bug of its own.")


def test_a_failure_that_no_flow_foresaw_leads_to_the_next(monkeypatch):
    monkeypatch.setattr(fx, "prepare", broken)
    monkeypatch.setattr(pt2e, "refusal", lambda *_: "it is switched off")
    variant = built(made(Two), "qat", numbers)
    assert variant.recipe.flow == "parts"
    fx_said = "fx failed: quant_model could not be taken: RuntimeError: a bug of its own; "
    assert f"since {fx_said}" in note_of(variant)


def test_of_failures_that_no_flow_foresaw_each_is_named(monkeypatch):
    for flow in (fx, pt2e, parts):
        monkeypatch.setattr(flow, "prepare", broken)
    with pytest.raises(QuantStageError) as error:
        built(made(Two), "static", numbers)
    said = "failed: quant_model could not be taken: RuntimeError: a bug of its own."
    assert str(error.value) == "prepare ERROR: no flow takes quant_model. " + " ".join(
        f"flow {flow} {said}" for flow in ("fx", "pt2e", "parts")
    )
