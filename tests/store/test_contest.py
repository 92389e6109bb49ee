"""Contest: the fastest flow and engine that are exact, found with variants whose speed is planted."""

from types import SimpleNamespace

import pytest
import torch
from builders import batches, toy_subject

from pytest_quant import QuantStageError, Recipe, open_store
from pytest_quant.machine.conditions import Conditions
from pytest_quant.machine.engines import supported_engines
from pytest_quant.store.contest import fastest, inputs_of, is_contest

SIGNAL = torch.ones(4, 8)


class Planted:
    """A variant of known speed, whose outputs are off by a known relative error."""

    def __init__(self, speedup=1.0, error=0.0, engine=None):
        self.ratio = speedup
        self.error = error
        self.conditions, self.model = Conditions(engine=engine), torch.nn.Linear(8, 2)

    def running(self):
        return torch.inference_mode()

    def forward(self, inputs):
        return inputs * (1 + self.error)

    def pair(self, baseline):
        return SimpleNamespace(ratio=self.ratio, add_rounds=lambda rounds, seconds: None)


def contest(recipe, planted):
    built = []

    def make(trial):
        built.append(trial)
        found = planted[f"{trial.flow} {trial.engine}" if recipe.flow == "best" else trial.engine]
        if isinstance(found, Exception):
            raise found
        return found

    choice = fastest(recipe, Planted(), SIGNAL, make)
    return (choice.engine, choice.note), built


@pytest.fixture
def four(monkeypatch):
    engines = ["x86", "fbgemm", "onednn", "qnnpack"]
    monkeypatch.setattr("pytest_quant.store.contest.supported_engines", lambda: engines)
    return dict.fromkeys(engines, Planted(1.0, 0.01))


def test_the_fastest_of_the_exact_engines_wins(four):
    four |= {"onednn": Planted(3.0, 0.01), "x86": Planted(2.0, 0.01)}
    (winner, note), _ = contest(Recipe("static", engine="auto"), four)
    assert winner == "onednn"
    assert "onednn 3.00x at 40.0 dB" in note


@pytest.mark.parametrize(("error", "winner"), [(0.0112, "qnnpack"), (0.0113, "x86")])
def test_an_engine_that_loses_more_than_a_decibel_is_out_however_fast(four, error, winner):
    """An error 10 ** (1 / 20) = 1.122 times as large is one decibel."""
    four |= {"qnnpack": Planted(9.0, error), "x86": Planted(2.0, 0.01)}
    assert contest(Recipe("static", engine="auto"), four)[0][0] == winner


def test_an_engine_that_fails_is_named_and_passed_over(four):
    four["x86"] = QuantStageError("convert", "no kernel")
    four["fbgemm"] = Planted(2.0, 0.01)
    (winner, note), _ = contest(Recipe("static", engine="auto"), four)
    assert winner == "fbgemm"
    assert "x86 failed" in note


def test_when_every_engine_fails_the_reason_is_told(four):
    four = dict.fromkeys(four, QuantStageError("convert", "no kernel"))
    with pytest.raises(QuantStageError, match="no kernel"):
        contest(Recipe("dynamic", engine="auto"), four)


def test_qat_is_not_trained_once_for_each_engine(four):
    recipe = Recipe("qat", engine="auto", keep_fp32=("fc",), epochs=7)
    _, built = contest(recipe, four)
    assert {trial.kind for trial in built} == {"static"}
    assert {trial.keep_fp32 for trial in built} == {("fc",)}


def test_pt2e_has_one_engine_and_needs_no_contest():
    assert contest(Recipe("static", flow="pt2e", engine="auto"), {})[0][0] == "onednn"


@pytest.mark.parametrize(
    ("recipe", "of_the_run", "expected"),
    [
        (Recipe("static", engine="auto"), None, True),
        (Recipe("static"), "auto", True),
        (Recipe("static", engine="x86"), "auto", False),
        (Recipe("static"), None, False),
        (Recipe("weight_only"), "auto", False),
        (Recipe("static", flow="best"), None, True),
        (Recipe("qat", flow="best", engine="x86"), None, True),
        (Recipe("dynamic", flow="best"), None, True),
    ],
)
def test_a_contest_is_held_only_when_it_was_asked_for(recipe, of_the_run, expected):
    assert is_contest(recipe, Conditions(engine=of_the_run)) is expected


def test_this_pytorch_has_engines():
    assert torch.backends.quantized.engine in supported_engines()


def contestants(recipe, planted, monkeypatch, flows=("fx", "pt2e", "parts")):
    monkeypatch.setattr("pytest_quant.store.contest.flows_of", lambda recipe, module: flows)
    built = []

    def make(trial):
        built.append((trial.flow, trial.engine))
        found = planted[trial.flow, trial.engine]
        if isinstance(found, Exception):
            raise found
        return found

    choice = fastest(recipe, Planted(), SIGNAL, make)
    return (choice.recipe(recipe), choice.note), built


def test_every_flow_meets_every_engine_once(four, monkeypatch):
    engines = list(four)
    pairs = [(flow, engine) for flow in ("fx", "parts") for engine in engines]
    planted = {pair: Planted(1.0, 0.01) for pair in [*pairs, ("pt2e", "onednn")]}
    planted["pt2e", "onednn"] = Planted(3.0, 0.01)
    planted["fx", "qnnpack"] = Planted(9.0, 0.02)  # faster, and 6 dB less exact
    planted["parts", "x86"] = QuantStageError("prepare", "it branches")
    (chosen, note), built = contestants(
        Recipe("static", flow="best", engine="auto"), planted, monkeypatch
    )
    assert (chosen.flow, chosen.engine) == ("pt2e", "onednn")
    assert sorted(built) == sorted(planted)
    assert note.startswith("flow pt2e on onednn is the fastest here that is exact: ")
    assert "fx on qnnpack 9.00x at 34.0 dB" in note
    assert "parts on x86 failed" in note


def test_a_flow_is_found_on_the_engine_that_was_asked_for(four, monkeypatch):
    planted = {("fx", "x86"): Planted(2.0, 0.01), ("parts", "x86"): Planted(1.0, 0.01)}
    planted["pt2e", "onednn"] = Planted(1.5, 0.02)
    (chosen, _), built = contestants(
        Recipe("static", flow="best", engine="x86"), planted, monkeypatch
    )
    assert (chosen.flow, chosen.engine) == ("fx", "x86")
    assert len(built) == 3
    assert chosen.kind == "static"


def test_qat_is_built_by_the_flow_that_static_variants_have_found(four, monkeypatch):
    planted = {("fx", None): Planted(1.0, 0.01), ("pt2e", "onednn"): Planted(2.0, 0.01)}
    recipe = Recipe("qat", flow="best", epochs=7)
    (chosen, _), _ = contestants(recipe, planted, monkeypatch, ("fx", "pt2e"))
    assert chosen == Recipe("qat", flow="pt2e", engine="onednn", epochs=7)


def test_it_is_decided_on_calibration_data():
    store = open_store(Conditions(threads=1))
    subject = toy_subject(calibration_data=batches(seed=7))
    assert torch.equal(inputs_of(store.fp32(subject), subject), batches(seed=7)[0][0])
    without = toy_subject(calibration_data=None)
    assert torch.equal(inputs_of(store.fp32(without), without), batches(seed=1)[0][0])


def test_what_was_found_is_written_into_the_recipe():
    recipe = Recipe("static", flow="best", engine="onednn")
    variant = open_store(Conditions(threads=1)).variant(toy_subject(), recipe)
    assert variant.recipe.flow in ("fx", "pt2e", "parts")
    assert variant.recipe.engine == "onednn"
    (note,) = [note for note in variant.notes if "is the fastest here that is exact" in note]
    assert "fx on onednn" in note


def test_other_runtimes_take_part_where_the_recipe_says_so():
    planted = {
        "fx x86": Planted(2.0, 0.01), "pt2e onednn": Planted(1.0, 0.01), "parts x86": Planted(1.0, 0.01),
        "onnx onednn": Planted(4.0, 0.01), "openvino onednn": Planted(9.0, 0.1),
    }  # fmt: skip
    recipe = Recipe("static", flow="best", engine="x86", runtimes=("onnx", "openvino"))
    (_, note), built = contest(recipe, planted)
    assert note.startswith("flow onnx on onednn is the fastest here that is exact")
    assert "openvino on onednn 9.00x at 20.0 dB" in note
    assert all(trial.runtimes == () for trial in built)
    (_, note), built = contest(Recipe("static", flow="best", engine="x86"), planted)
    assert {trial.flow for trial in built} == {"fx", "pt2e", "parts"}


def test_a_file_of_another_runtime_may_win():
    subject = toy_subject()
    variant = open_store(Conditions(threads=1)).variant(
        subject, Recipe("static", flow="best", runtimes=("onnx",))
    )
    assert any("onnx on onednn" in note for note in variant.notes)
    assert variant.recipe.flow in ("fx", "pt2e", "parts", "onnx")
    assert variant.recipe.runtimes == ()
