"""Mend: what it proposes was built and holds, and keeps as few layers as it can."""

from dataclasses import replace

import planted
import pytest
import torch
from builders import ONE_THREAD, toy_subject, toy_variant

from pytest_quant import Recipe, Subject, assert_gates, assert_max_accuracy_drop
from pytest_quant.errors import QuantStageError
from pytest_quant.explain import explain, mend
from pytest_quant.explain.effort import Effort
from pytest_quant.explain.inaccuracy import inaccurate
from pytest_quant.explain.remedies.first_try import first_try
from pytest_quant.explain.remedies.proposal import Proposal
from pytest_quant.explain.remedies.remedy import Remedy
from pytest_quant.explain.remedies.search import Search
from pytest_quant.judge.accuracy_drop import judge_drop
from pytest_quant.store.open import open_store
from pytest_quant.variant.rounds import Pair

SEEDS = 20
LIMIT = 0.03
MENDABLE = [fault for fault in planted.FAULTS if fault is not planted.wrong_fold]


@pytest.fixture(autouse=True)
def without_timing(monkeypatch):
    """One round is enough to see that a speed-up is told."""
    monkeypatch.setattr("pytest_quant.explain.remedies.proposal.ROUNDS", 1)


def variant(fault, seed=0, recipe=None):
    subject, own, layer = fault(seed)
    return open_store(ONE_THREAD).variant(subject, recipe or own), layer


@pytest.mark.parametrize("fault", MENDABLE, ids=lambda fault: fault.__name__)
def test_a_planted_fault_is_mended_by_that_layer_and_at_most_two_others(fault):
    own, layer = variant(fault, seed=2)
    remedy = mend(own, LIMIT, cheap=False)
    assert remedy.found
    assert layer in remedy.kept
    assert len(remedy.kept) <= 3
    assert remedy.drop <= LIMIT


@pytest.mark.parametrize("limit", [{"min_sqnr": 20}, {"max_flips": LIMIT}])
def test_it_is_mended_for_the_limits_of_other_gates_too(limit):
    fault = planted.outlier_channel
    own, layer = variant(fault, seed=2)
    remedy = mend(own, cheap=False, **limit)
    assert layer in remedy.kept
    assert len(remedy.kept) <= 3
    ((name, most),) = limit.items()
    assert (remedy.gate, remedy.max_drop) == (name, most)
    assert remedy.drop >= most if name == "min_sqnr" else remedy.drop <= most
    what = "SQNR" if name == "min_sqnr" else "flips"
    assert f"# {what} {remedy.drop * (1 if what == 'SQNR' else 100):.1f}"[:8] in remedy.line
    subject, *_ = fault(2)
    again = open_store(ONE_THREAD).variant(subject, Recipe.from_dict(remedy.recipe))
    assert assert_gates(again, **limit)[0].observed == pytest.approx(remedy.drop)


def test_a_remedy_that_was_found_in_a_first_try_is_told_of_the_next_one_too():
    subject, recipe, _ = planted.outlier_channel(2)
    own = open_store(replace(ONE_THREAD, calibration_shift="off")).variant(subject, recipe)
    verdict = judge_drop(own, LIMIT)
    for _ in range(2):
        assert "Recipe(" in inaccurate(verdict, own, Effort(10.0, 60.0))
        assert own.measured("remedy").found
        own.forget("remedy")


def test_what_was_judged_in_the_population_is_mended_there():
    own, _ = variant(planted.outlier_channel, seed=2)
    remedy = mend(own, 0.2, scope="population", cheap=False)
    again = open_store(ONE_THREAD).variant(own.subject, Recipe.from_dict(remedy.recipe))
    assert assert_max_accuracy_drop(again, 0.2, scope="population")  # which raises otherwise


def test_where_no_recipe_reaches_the_sqnr_the_nearest_is_told_and_training_is_no_advice():
    own, _ = variant(planted.none)
    remedy = mend(own, min_sqnr=70, cheap=False)
    assert not remedy.found
    assert 20 < remedy.drop < 70
    assert "a lower limit" in str(remedy)
    assert "QAT" not in str(remedy)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"max_drop": 0.1, "min_sqnr": 20}, r"max_drop=0.1, min_sqnr=20; expected one limit"),
        ({"min_sqnr": 20, "relative": True}, "which belong to max_drop"),
        ({"max_flips": 0.1, "scope": "population"}, "relative, metric or scope, which belong to"),
        ({"max_drop": 0.1, "scope": "all"}, "allowed: dataset, population"),
        ({"max_drop": 0.1, "scope": "population", "alpha": 0.5}, "at most 0.05"),
        ({"max_flips": 2}, "share of the samples"),
        ({"min_sqnr": "30"}, "decibels"),
    ],
)
def test_wrong_limits_are_refused(given, said):
    own, _ = variant(planted.none)
    with pytest.raises((TypeError, ValueError), match=said):
        mend(own, **given)


@pytest.fixture
def planted_rounds(monkeypatch):
    """No round is timed, where nothing is asked of the speed-up."""

    def add_round(self):
        self.seconds_a.append(1e-3)
        self.seconds_b.append(2e-3)
        self.spent += 1.0

    monkeypatch.setattr(Pair, "add_round", add_round)


@pytest.mark.slow
@pytest.mark.parametrize("fault", MENDABLE, ids=lambda fault: fault.__name__)
def test_so_it_is_in_19_of_20_seeds_that_fail(fault, planted_rounds):
    failing = mended = seed = 0
    while failing < SEEDS:
        own, layer = variant(fault, seed)
        seed += 1
        assert seed < 3 * SEEDS, "the fault does not hurt"
        drop = own.fp32.evaluation.values["top-1"] - own.evaluation.values["top-1"]
        if drop <= LIMIT:
            continue
        failing += 1
        remedy = mend(own, LIMIT, cheap=False)
        mended += layer in remedy.kept and len(remedy.kept) <= 3
    assert mended >= 19


def test_the_line_builds_a_variant_that_holds_the_limit():
    own, _ = variant(planted.outlier_channel)
    remedy = mend(own, LIMIT, cheap=False)
    recipe = eval(remedy.line.partition("  #")[0], {"Recipe": Recipe})
    again = open_store(ONE_THREAD).variant(own.subject, recipe)
    assert assert_max_accuracy_drop(again, LIMIT).observed == pytest.approx(remedy.drop)
    assert remedy.size_ratio == again.size.tensor_bytes / again.fp32.size.tensor_bytes
    assert "measured" in remedy.line
    assert remedy.builds >= 1


def test_a_cheap_remedy_comes_before_layers_in_fp32():
    own, _ = variant(planted.depthwise_per_tensor)
    remedy = mend(own, LIMIT)
    assert remedy.found
    assert remedy.kept == ()
    recipe = Recipe.from_dict(dict(remedy.recipe))
    assert recipe.per_channel or recipe.equalize


def test_unequal_channels_are_mended_by_equalization():
    own, _ = variant(planted.outlier_channel, seed=2)
    remedy = mend(own, LIMIT)
    assert remedy.kept == ()
    assert Recipe.from_dict(dict(remedy.recipe)).equalize
    assert "equalize=True" in remedy.line


def test_layers_that_were_kept_stay_kept():
    own, layer = variant(
        planted.outlier_channel, seed=2, recipe=Recipe("static", keep_fp32=("head",))
    )
    remedy = mend(own, LIMIT, cheap=False)
    assert layer in remedy.kept
    assert Recipe.from_dict(dict(remedy.recipe)).keep_fp32 == ("head", *remedy.kept)


def test_what_holds_the_limit_needs_no_remedy():
    remedy = mend(toy_variant("static"), 0.5)
    assert not remedy.found
    assert "holds the limit as it is" in str(remedy)


def test_none_found_says_so_and_what_is_next(monkeypatch):
    monkeypatch.setattr(Proposal, "is_quantized", property(lambda self: False))
    own, _ = variant(planted.head_that_must_stay)
    remedy = mend(own, LIMIT, cheap=False)
    assert not remedy.found
    assert remedy.line == ""
    assert "None found in" in str(remedy)
    assert "QAT is the next step" in str(remedy)
    assert remedy.trials[0].startswith("as it is: ")


def test_without_time_it_says_that_the_time_was_up():
    own, _ = variant(planted.head_that_must_stay)
    assert "when the time was up" in str(mend(own, LIMIT, seconds=0))


def test_qat_that_lost_it_in_training_is_told_to_train_otherwise():
    subject, _, _ = planted.none(0)
    wrong = [(x, torch.zeros(len(x), dtype=torch.long)) for x in subject.calibration_data]
    own = open_store(ONE_THREAD).variant(
        replace(subject, train_data=wrong), Recipe("qat", epochs=30, lr=0.1)
    )
    remedy = mend(own, LIMIT)
    assert not remedy.found
    assert "It is not the rounding that costs" in str(remedy)


def test_a_custom_variant_is_not_ours_to_mend():
    own, _ = variant(planted.wrong_fold)
    assert "not ours to mend" in str(mend(own, LIMIT))


def test_a_weight_only_variant_is_mended_as_it_is_built():
    own, _ = variant(
        planted.outlier_channel, recipe=Recipe("weight_only", dtype="codebook", bits=3)
    )
    remedy = mend(own, 0.02)
    assert remedy.found
    assert remedy.kept == ("last.0",)


class Encoder(torch.nn.Module):
    """Attention, behind a Linear with a row that is far larger than the others."""

    def __init__(self):
        super().__init__()
        self.into, self.head = torch.nn.Linear(8, 16), torch.nn.Linear(16, 3)
        self.body = torch.nn.TransformerEncoderLayer(16, 2, 16, batch_first=True)
        with torch.no_grad():
            self.into.weight[3] *= 1000

    def encode(self, x):
        return self.body(self.into(x)[:, None])[:, 0]

    def forward(self, x):
        return self.head(self.encode(x))


@pytest.mark.parametrize("own", [None, lambda model, x: model.head(model.encode(x))])
@pytest.mark.parametrize("kind", ["dynamic", "weight_only"])
def test_candidates_run_as_the_variant_does_with_attention_and_by_the_users_forward(kind, own):
    torch.manual_seed(0)
    model = Encoder().eval()
    x = torch.randn(512, 8)
    with torch.no_grad():
        y = model(x).argmax(1)
    subject = Subject(model, "encoder", eval_data=[(x, y)], forward=own)
    how = {} if kind == "dynamic" else {"dtype": "codebook", "bits": 3}
    quantized = open_store(ONE_THREAD).variant(subject, Recipe(kind, **how))
    before = [id(module) for module in quantized.model.modules()]
    remedy = mend(quantized, 0.0)
    assert remedy.evaluations >= 3
    assert "could not go on" not in str(remedy)
    assert all(layer.effect is not None for layer in quantized.measured("explanation").layers)
    assert [id(module) for module in quantized.model.modules()] == before


def test_it_is_kept_and_crosses_processes():
    own, _ = variant(planted.head_that_must_stay)
    remedy = mend(own, LIMIT, cheap=False)
    assert own.measured("remedy") is remedy
    assert Remedy.from_dict(remedy.to_dict()) == remedy


def test_wrong_arguments_are_refused():
    with pytest.raises(TypeError, match="expected a quantized Variant"):
        mend(open_store(ONE_THREAD).fp32(toy_subject()))
    with pytest.raises(ValueError, match="allowed: bytes, time"):
        mend(toy_variant("static"), weigh="layers")
    with pytest.raises(ValueError, match="not among quant_metric's"):
        mend(toy_variant("static"), metric="f1")
    with pytest.raises(ValueError, match=r"0\.01 is one point"):
        mend(toy_variant("static"), 5)
    with pytest.raises(ValueError, match="max_accuracy_drop is -1"):
        mend(toy_variant("static"), -1)


class ByFunctions(planted.Net):
    """Between whose layers there is a function, so that no channels can be evened out."""

    def forward(self, x):
        x = torch.relu(self.stem[1](self.stem[0](x)))
        x = torch.nn.functional.max_pool2d(torch.relu(self.middle[1](self.middle[0](x))), 2)
        return self.head(torch.relu(self.last[1](self.last[0](x))).mean((2, 3)))


def test_a_setting_that_cannot_be_built_does_not_end_the_search(monkeypatch):
    own, _ = variant(planted.outlier_channel)
    real = Search._built

    def only_layers(self, recipe, kept):
        if recipe != own.recipe:
            raise QuantStageError(
                "calibrate", "flow fx gives a range that does not hold its values."
            )
        return real(self, recipe, kept)

    monkeypatch.setattr(Search, "_built", only_layers)
    remedy = mend(own, LIMIT)
    assert remedy.found
    assert remedy.kept
    assert any("could not be built" in each for each in remedy.trials)


def test_equalizing_is_not_proposed_where_no_layers_can_be_equalized():
    def outlying(kind):
        torch.manual_seed(0)
        subject, recipe, _ = planted.outlier_channel(0)
        model = kind()
        model.load_state_dict(subject.model.state_dict())
        own = open_store(ONE_THREAD).variant(replace(subject, model=model.eval()), recipe)
        explanation = explain(own)
        return str(explanation), first_try(own, explanation)

    told, recipe = outlying(planted.Net)
    assert "equalize=True" in told
    assert recipe.equalize
    told, recipe = outlying(ByFunctions)
    assert "equalize=True" not in told
    assert recipe is None or not recipe.equalize
