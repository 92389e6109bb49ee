"""Observed: a simulation looks with the observers of the method that made the variant."""

import sys

import pytest
import torch
from builders import ONE_THREAD, toy_subject, toy_variant

from pytest_quant import Recipe, open_store
from pytest_quant.explain import explain
from pytest_quant.machine.conditions import known_warnings_silenced
from pytest_quant.quantize.flows import fx, pt2e
from pytest_quant.quantize.methods.registry import METHODS, method_of

GONE = ("torch.ao.quantization", "torch.ao.quantization.quantize_fx")


@pytest.fixture
def without_torch_ao(monkeypatch):
    """A PyTorch that has lost its own quantization."""
    for name in GONE:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize("observer", [None, "mse"])
def test_a_compiled_variant_is_explained_without_torchs_own_quantization(
    without_torch_ao, observer
):
    recipe = Recipe("static", flow="pt2e", observer=observer)
    explanation = explain(open_store(ONE_THREAD).variant(toy_subject(), recipe))
    assert [layer.name for layer in explanation.layers] == ["0", "2"]
    assert explanation.sqnr["built"] == pytest.approx(explanation.sqnr["whole"], abs=3)


@pytest.mark.parametrize("qscheme", [None, "per_tensor_symmetric"])
@pytest.mark.parametrize("observer", [None, "minmax", "moving_average", "percentile"])
def test_both_stacks_find_the_same_ranges(observer, qscheme):
    layer, x = torch.nn.Linear(8, 4), torch.randn(64, 8) + 0.5
    recipe = Recipe("static", observer=observer, qscheme=qscheme, engine="onednn")
    with known_warnings_silenced():
        assert_same_ranges([flow.observers(recipe, "onednn") for flow in (fx, pt2e)], layer, x)


def assert_same_ranges(found, layer, x):
    for make, seen in (("activation", x), ("weight", layer.weight.detach())):
        observers = [getattr(each, make)(layer) for each in found]
        for each in observers:
            each(seen)
        ours, theirs = (each.calculate_qparams() for each in observers)
        torch.testing.assert_close(ours[0].flatten(), theirs[0].flatten())
        assert torch.equal(ours[1].flatten().int(), theirs[1].flatten().int())
        assert observers[0].quant_max == observers[1].quant_max


def test_scales_that_the_compiled_kernels_cannot_have_are_blamed_on_rounding():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.ReLU(), torch.nn.Linear(64, 3))
    with torch.no_grad():
        for parameter in model[0].parameters():
            parameter.mul_(0.02)  # below the smallest scale, 2 ** -12
        model[2].weight.mul_(50)
    explanation = explain(toy_variant(Recipe("static", flow="pt2e"), model=model.eval()))
    # within 0.1 on CPUs with VNNI; kernels of others round a sum once more
    assert explanation.sqnr["built"] == pytest.approx(explanation.sqnr["whole"], abs=0.3)
    assert "rounding alone" not in str(explanation)


def test_methods_that_observe_nothing_beforehand_have_no_observers():
    recipes = [Recipe(kind) for kind in ("dynamic", "weight_only", "cast")]
    recipes += [Recipe("dynamic", flow="pt2e"), Recipe("custom", build=lambda module: module)]
    for recipe in recipes:
        assert method_of(recipe).observers(recipe) is None
        assert not method_of(recipe).facts(recipe).is_observed
    for kind, flow in METHODS:
        if kind in ("static", "qat"):
            recipe = Recipe(kind, flow=flow, engine="onednn")
            assert method_of(recipe).observers(recipe) is not None
            assert method_of(recipe).facts(recipe).is_observed


def test_an_explanation_asks_the_method_for_its_observers(monkeypatch):
    asked = []
    monkeypatch.setattr(
        fx, "observers", lambda *given: asked.append(given) or pt2e.observers(*given)
    )
    variant = toy_variant(Recipe("static", flow="fx", engine="onednn"))
    explain(variant)
    assert asked == [(variant.recipe, "onednn")]
