"""Calibration and training inputs of another kind than the eval inputs are told, or are an error."""

import json

import pytest

CONFTEST = """
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset


def pixels(seed, samples=256):
    generator = torch.Generator().manual_seed(seed)
    light = torch.rand(samples, 1, 1, 1, generator=generator)
    return light * torch.rand(samples, 1, 6, 6, generator=generator)


def normal(x):
    return (x - 0.25) / 0.2


@pytest.fixture(scope="session")
def quant_model():
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(128, 4)
    )
    return model.eval()


@pytest.fixture(scope="session")
def quant_eval_data(quant_model):
    x = normal(pixels(1))
    with torch.no_grad():
        y = quant_model(x).argmax(1)
    return DataLoader(TensorDataset(x, y), batch_size=32)


@pytest.fixture(scope="session")
def quant_calibration_data():
    return list(GIVEN(pixels(2)).split(32))


@pytest.fixture(scope="session")
def quant_train_data(quant_model):
    x = pixels(3)
    with torch.no_grad():
        y = quant_model(normal(x)).argmax(1)
    return DataLoader(TensorDataset((TRAINED)(x), y), batch_size=32, shuffle=True)
"""
GATES = """
from pytest_quant import assert_max_accuracy_drop


def test_it(VARIANT):
    assert_max_accuracy_drop(VARIANT, LIMIT)
"""
SPANS = "span 0 to 0.99, eval inputs -1.2 to 3.7: not normalised?"


@pytest.fixture
def repo(pytester):
    def made(given="lambda x: x", trained="normal", variant="quant_static", limit=0.9):
        text = CONFTEST.replace("GIVEN", f"({given})").replace("TRAINED", trained)
        pytester.makeconftest(text)
        gates = GATES.replace("VARIANT", variant).replace("LIMIT", str(limit))
        pytester.makepyfile(test_ships=gates)
        return pytester

    return made


def told(result):
    return " ".join(" ".join(result.outlines).split())


def test_a_gate_that_holds_is_told_beside(repo):
    made = repo()
    result = made.runpytest("--quant", "--quant-report=out")
    result.assert_outcomes(passed=1)
    assert f"static: calibration inputs {SPANS}" in told(result)
    assert SPANS in (made.path / "out/report.md").read_text()


def test_of_a_gate_that_fails_it_is_the_first_cause_and_nothing_is_searched(repo):
    result = repo("lambda x: 0.02 * normal(x)", limit=0.0).runpytest("--quant", "--quant-mend")
    result.assert_outcomes(failed=1)
    lines = [line for line in result.outlines if line]
    cause = next(i for i, line in enumerate(lines) if "cause and remedy" in line)
    assert lines[cause + 1].startswith("Calibration inputs span ")
    assert "times the scale?" in " ".join(lines[cause + 1 : cause + 3])
    assert not any("QAT is the next step" in line or "keep_fp32" in line for line in lines)


@pytest.mark.parametrize("how", ["--quant-calibration-shift=error", "ini"])
def test_it_is_an_error_where_that_is_asked_for(repo, how):
    made = repo()
    if how == "ini":
        made.makeini("[pytest]\nquant_calibration_shift = error")
    result = made.runpytest("--quant", *([how] if how != "ini" else []))
    result.assert_outcomes(errors=1)
    assert f"calibrate ERROR: calibration inputs {SPANS}" in told(result)
    result.stdout.no_fnmatch_line("*calibrate Sequential static: * samples*")  # nothing was built


def test_it_can_be_switched_off(repo):
    result = repo().runpytest("--quant", "--quant-calibration-shift=off")
    result.assert_outcomes(passed=1)
    assert "eval inputs" not in told(result)


def test_another_word_is_a_usage_error(repo):
    result = repo().runpytest("--quant", "--quant-calibration-shift=warning")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*quant_calibration_shift is 'warning'; allowed: warn, error, off*"]
    )


def test_training_inputs_are_looked_at_too(repo):
    result = repo(trained="lambda x: x", variant="quant_qat").runpytest("--quant")
    assert f"qat: training inputs {SPANS}" in told(result)


def test_inputs_that_are_alike_are_not_mentioned_and_nothing_changes(repo):
    sure = repo("normal", variant="quant_qat").runpytest("--quant", "--quant-report=on")
    sure.assert_outcomes(passed=1)
    assert "eval inputs" not in told(sure)
    path = repo("normal", variant="quant_qat").path
    repo("normal", variant="quant_qat").runpytest(
        "--quant", "--quant-report=off", "--quant-calibration-shift=off"
    )
    rows = [json.loads((path / name / "report.json").read_text())["rows"] for name in ("on", "off")]
    kept = [[(row["variant"], row["metrics"], row["sqnr"]) for row in own] for own in rows]
    assert kept[0] == kept[1]  # the look reorders no shuffling loader


OWN = """

@pytest.fixture(scope="session")
def quant_train(quant_train_data):
    def train(model):
        optimizer = torch.optim.SGD(model.parameters(), 1e-3)
        for x, y in quant_train_data:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(INPUTS), y).backward()
            optimizer.step()

    return train


def build(model):
    with torch.no_grad():
        for x in pixels(3).split(32):
            model(INPUTS)
    return torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, torch.qint8)


def pytest_quant_recipes(config):
    from pytest_quant import Recipe

    return {"ours": Recipe("custom", build=build)}
"""


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        ("quant_qat", "qat: training inputs span"),
        ("quant_variant", "ours: the inputs that its build gave the model span"),
    ],
)
@pytest.mark.parametrize(("inputs", "is_told"), [("x", True), ("normal(x)", False)])
def test_what_code_of_ones_own_gives_the_model_is_looked_at(repo, variant, words, inputs, is_told):
    made = repo(trained="lambda x: x", variant=variant)
    conftest = made.path / "conftest.py"
    conftest.write_text(conftest.read_text() + OWN.replace("INPUTS", inputs))
    text = told(made.runpytest("--quant", "--quant-variants=qat,ours"))
    assert (words in text) is is_told
