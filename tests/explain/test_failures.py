"""Nobody is sent to a flow or a kind that has just failed."""

import pytest
import torch
from builders import ONE_THREAD, batches, tiny_linear, toy_subject, toy_variant

from pytest_quant import QuantStageError, Recipe
from pytest_quant.explain.effort import Effort
from pytest_quant.explain.inaccuracy import inaccurate
from pytest_quant.explain.lost.explanation import Explanation
from pytest_quant.explain.lost.layer import Layer
from pytest_quant.explain.lost.sentences import worst_layers
from pytest_quant.explain.notes import notes_on
from pytest_quant.explain.other_flows import compiled, other_flows
from pytest_quant.explain.remedies.drop_limit import drop_limit
from pytest_quant.explain.remedies.first_try import first_try
from pytest_quant.explain.remedies.search import Search
from pytest_quant.explain.remedies.to_paste import pasted
from pytest_quant.explain.size.size_cause import weigh
from pytest_quant.judge.accuracy_drop import judge_drop
from pytest_quant.judge.sqnr_limit import judge_sqnr
from pytest_quant.judge.verdict import Outcome
from pytest_quant.store.open import open_store

nn = torch.nn


class Untraceable(nn.Module):
    """Flow fx cannot follow it, flow parts can take its body."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16))
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        x = self.body(x)
        return self.head(x if x.mean() > -1e9 else -x)


@pytest.fixture(scope="module")
def parts():
    torch.manual_seed(0)
    return toy_variant("static", model=Untraceable().eval())


def test_flows_that_refused_are_remembered(parts):
    assert parts.recipe.flow == "parts"
    assert parts.has_failed("static", "fx")
    assert not parts.has_failed("static", "parts")
    flows = [recipe.flow for recipe in other_flows(parts, parts.recipe)]
    assert "fx" not in flows
    assert "parts" not in flows


def test_what_flow_pt2e_refused_is_not_proposed(parts):
    if parts.has_failed("static", "pt2e"):
        assert compiled(parts, parts.recipe) is None


def test_a_recipe_that_failed_is_not_pasted(parts):
    verdict = judge_drop(parts, 0.5)
    assert pasted(Recipe("static", flow="fx"), verdict, parts) == []
    assert pasted(Recipe("static", keep_fp32=["head"]), verdict, parts) != []


def test_size_does_not_propose_a_kind_that_is_an_error():
    store, subject = open_store(ONE_THREAD), toy_subject()
    static = store.variant(subject, Recipe("static", keep_fp32=("0",)))
    static.failures.add(("weight_only", "auto"))
    assert "weight_only" not in str(weigh(static))


def test_an_error_of_a_kind_is_remembered_by_all_variants():
    store, subject = open_store(ONE_THREAD), toy_subject()
    static = store.variant(subject, Recipe("static"))
    assert not static.has_failed("qat")
    with pytest.raises(QuantStageError, match="nothing to train on"):
        store.variant(subject, Recipe("qat"))
    assert static.has_failed("qat")
    search = Search(static, static.recipe, drop_limit(static, 0.1, False, None), "parameters", 0.0)
    assert "QAT" not in search._next()
    assert (
        "static"
        in Search(
            store.variant(subject, Recipe("dynamic")),
            Recipe("dynamic"),
            drop_limit(static, 0.1, False, None),
            "parameters",
            0.0,
        )._next()
    )


def test_a_first_try_names_nothing_of_another_model(parts):
    assert first_try(parts, None) is None


def test_a_recurrent_model_is_not_sent_to_attention():
    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.head = nn.LSTM(8, 32, batch_first=True), nn.Linear(32, 3)

        def forward(self, x):
            return self.head(self.lstm(x[:, None].expand(-1, 5, -1))[0][:, -1])

    torch.manual_seed(0)
    variant = toy_variant("static", model=Tagger().eval())
    _ = variant.int8_share
    told = " ".join(notes_on(variant))
    assert "TransformerEncoder" not in told
    if "does not quantize inside" in told:
        assert "dynamic quantization takes LSTM" in told


@pytest.mark.parametrize(("shares", "kept"), [((0.5, 0.5), []), ((0.97, 0.03), ["0"])])
def test_no_recipe_is_proposed_that_quantizes_nothing(shares, kept):
    layers = tuple(
        Layer(name, "Linear", effect=share, share=share)
        for name, share in zip(("0", "2"), shares, strict=True)
    )
    explanation = Explanation("static", "toy", "", layers, {"whole": 30.0}, 32, 0.1)
    assert worst_layers(explanation) == kept


@pytest.mark.parametrize(("limit", "is_beyond"), [(80, True), (40, False)])
def test_an_sqnr_that_no_weights_of_8_bits_reach_is_said_to_be_beyond_int8(limit, is_beyond):
    model = tiny_linear()
    data = [(x, model(x).argmax(1)) for x, _ in batches(seed=1)]
    variant = toy_variant("static", model=model, eval_data=data)
    verdict = judge_sqnr(variant, limit)
    assert verdict.outcome is Outcome.FAIL
    text = inaccurate(verdict, variant, Effort(explain_seconds=30))
    assert ("State a limit that it can hold" in text) == is_beyond
    assert not (is_beyond and "To paste" in text)


def test_decibels_of_what_decides_are_not_held_against_a_limit_on_all_outputs():
    model = tiny_linear()
    data = [(x, model(x).argmax(1)) for x, _ in batches(seed=1)]
    variant = toy_variant("static", model=model, eval_data=data)
    observed = judge_sqnr(variant, 0.0).observed
    layers = (Layer("0", "Linear", effect=1.0, share=1.0),)
    decibels = {"whole": observed - 20, "weights": observed - 17, "activations": observed - 18}
    variant.keep("explanation", Explanation("static", "toy", "", layers, decibels, 32, 0.1))
    text = inaccurate(judge_sqnr(variant, observed + 8), variant, Effort(explain_seconds=30))
    assert "State a limit" not in text
    text = inaccurate(judge_sqnr(variant, observed + 14), variant, Effort(explain_seconds=30))
    assert f"would leave {observed + 3:.0f} dB" in text
