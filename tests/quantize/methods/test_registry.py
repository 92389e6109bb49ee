"""Registry: each recipe has its method, and one of a test's own is taken like ours."""

import copy

import pytest
import torch
from builders import ONE_THREAD, toy_subject

from pytest_quant import QuantStageError, Recipe, load_variant, open_store
from pytest_quant.quantize.built import Built
from pytest_quant.quantize.methods.registry import METHODS, facts_of, method_of
from pytest_quant.variant.facts import FP32, Facts, Ranges
from pytest_quant.variant.recipe import FLOWS, KINDS, SOME_FLOWS, USED


def test_each_recipe_has_a_method():
    flows = {kind: FLOWS if "flow" in USED[kind] else ("auto",) for kind in KINDS}
    flows |= SOME_FLOWS
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

    def facts(self, recipe):
        return Facts("doubled", Ranges.NEVER, covers=frozenset({"Linear"}), fast_path=True)

    def observers(self, recipe):
        return None


def test_a_method_of_ones_own_is_taken(monkeypatch, tmp_path):
    monkeypatch.setitem(METHODS, ("weight_only", "auto"), Doubling())
    variant = open_store(ONE_THREAD).variant(toy_subject(), Recipe("weight_only"))
    assert (variant.notes, variant.seconds) == (["doubled"], {"convert": 0.5})
    assert (variant.facts.name, variant.facts.takes("Conv2d")) == ("doubled", False)
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


def test_facts_are_those_of_the_flow_that_was_taken_and_of_the_usual_one_before():
    assert facts_of(Recipe("static")) == facts_of(Recipe("static", flow="fx"))
    assert facts_of(Recipe("dynamic")) == facts_of(Recipe("dynamic", flow="eager"))
    compiled = facts_of(Recipe("qat", flow="pt2e"))
    assert (compiled.is_compiled, compiled.trains, compiled.engine) == (True, True, "onednn")
    assert compiled.name == "qat in flow pt2e"
    parts = facts_of(Recipe("static", flow="parts"))
    assert (parts.by_parts, parts.sees_inside, parts.could_be_compiled) == (True, False, True)
    assert open_store(ONE_THREAD).fp32(toy_subject()).facts is FP32


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        (Recipe("static"), 1000 / 4 + 40 + 16 * 10),
        (Recipe("static", per_channel=False), 1000 / 4 + 40),
        (Recipe("static", flow="pt2e"), 1000 / 4 + 40 + 12 * 10),
        (Recipe("weight_only"), 1000 / 4 + 40 + 2 * 10),
        (Recipe("weight_only", dtype="int4"), 1000 * 5 / 32 + 40),
        (Recipe("weight_only", dtype="codebook", bits=3), 1000 * 3 / 32 + 40),
        (Recipe("cast"), 1040 / 2),
    ],
)
def test_what_a_linear_layer_costs_in_fewer_bits(recipe, expected):
    assert facts_of(recipe).bytes_of("Linear", weights=1000, rest=40, channels=10) == expected


def test_embeddings_and_recurrent_layers_have_scales_of_their_own():
    dynamic = facts_of(Recipe("dynamic"))
    assert dynamic.bytes_of("Embedding", weights=1000, rest=0, channels=10) == 250 + 8 * 10
    assert dynamic.bytes_of("LSTM", weights=1000, rest=0, channels=10) == 250
