"""Engine contest: the fastest engine that is exact, found with variants whose speed is planted."""

from types import SimpleNamespace

import pytest
import torch

from pytest_quant import QuantStageError, Recipe
from pytest_quant.machine.conditions import Conditions
from pytest_quant.machine.engines import supported_engines
from pytest_quant.store.contest import fastest_engine, is_contest

SIGNAL = torch.ones(4, 8)


class Planted:
    """A variant of known speed, whose outputs are off by a known relative error."""

    def __init__(self, speedup=1.0, error=0.0):
        self.ratio = speedup
        self.error = error
        self.admitted = SimpleNamespace(first_inputs=SIGNAL)

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
        found = planted[trial.engine]
        if isinstance(found, Exception):
            raise found
        return found

    return fastest_engine(recipe, Planted(), make), built


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


@pytest.mark.parametrize(("error", "winner"), [(0.0199, "qnnpack"), (0.0201, "x86")])
def test_an_engine_that_loses_more_than_a_bit_is_out_however_fast(four, error, winner):
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
    ],
)
def test_a_contest_is_held_only_when_it_was_asked_for(recipe, of_the_run, expected):
    assert is_contest(recipe, Conditions(engine=of_the_run)) is expected


def test_this_pytorch_has_engines():
    assert torch.backends.quantized.engine in supported_engines()
