"""Registry: each recipe has its method, and one of a test's own is taken like ours."""

import copy

import pytest
import torch
from builders import ONE_THREAD, toy_subject

from pytest_quant import QuantStageError, Recipe, load_variant, open_store
from pytest_quant.quantize.built import Built
from pytest_quant.quantize.methods.registry import METHODS, method_of
from pytest_quant.variant.recipe import DYNAMIC_FLOWS, FLOWS, KINDS, USED


def test_each_recipe_has_a_method():
    flows = {kind: FLOWS if "flow" in USED[kind] else ("auto",) for kind in KINDS}
    flows["dynamic"] = DYNAMIC_FLOWS
    assert METHODS.keys() == {(kind, flow) for kind in KINDS for flow in flows[kind]}
    assert method_of(Recipe("qat", flow="parts")) is METHODS["qat", "parts"]


class Doubling:
    """A method that takes all weights twice."""

    def make(self, admitted, recipe, conditions):
        module = self.rebuild(copy.deepcopy(admitted.module), recipe, None)
        return Built(module, recipe, seconds={"convert": 0.5}, notes=("doubled",))

    def rebuild(self, module, recipe, example):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.mul_(2)
        return module


def test_a_method_of_ones_own_is_taken(monkeypatch, tmp_path):
    monkeypatch.setitem(METHODS, ("weight_only", "auto"), Doubling())
    variant = open_store(ONE_THREAD).variant(toy_subject(), Recipe("weight_only"))
    assert (variant.notes, variant.seconds) == (["doubled"], {"convert": 0.5})
    mine, fp32 = variant.model.state_dict(), variant.fp32.model.state_dict()
    assert all(torch.equal(mine[name], 2 * fp32[name]) for name in fp32)
    loaded = load_variant(variant.save(tmp_path / "doubled.pt"), variant.fp32.model)
    x = variant.admitted.first_inputs
    assert torch.equal(loaded(x), variant(x))


def test_what_a_method_refuses_is_the_variants_error(monkeypatch):
    class Refusing(Doubling):
        def make(self, admitted, recipe, conditions):
            raise QuantStageError("prepare", "not today")

    monkeypatch.setitem(METHODS, ("static", "fx"), Refusing())
    with pytest.raises(QuantStageError, match="prepare ERROR: not today"):
        open_store(ONE_THREAD).variant(toy_subject(), Recipe("static", flow="fx"))
