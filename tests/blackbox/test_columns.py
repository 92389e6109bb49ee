"""What the terminal shows fits it: at 80, 100 and 200 columns, whatever passes, fails or cannot be run."""

import re

import pytest
from toyrepo import CONFTEST

from pytest_quant.report.width import width_of

PASSING = """
from pytest_quant import assert_max_accuracy_drop


def test_dynamic(quant_dynamic):
    assert_max_accuracy_drop(quant_dynamic, 0.5)
"""
TIMED = """
from pytest_quant import assert_gates


def test_dynamic(quant_dynamic):
    assert_gates(quant_dynamic, max_accuracy_drop=0.5, min_speedup=0.001, max_size_ratio=0.9)
"""
THREE = """

NAMES = ("small", "a-model-with-a-long-name-of-its-own", "ImageClassifierWithARatherLongName")


@pytest.fixture(scope="session", params=NAMES)
def quant_model(request, classifier):
    import copy

    return copy.deepcopy(classifier)
"""


@pytest.fixture
def repo(pytester):
    pytester.makeconftest(CONFTEST)
    return pytester


def own_lines(result):
    """The lines of our section."""
    text = re.split(r"=+ quantization =+\n", result.stdout.str())[1]
    return re.split(r"=+ short test summary|\n\S*=+ .* in ", text)[0].splitlines()


@pytest.mark.parametrize("columns", [80, 100, 200])
def test_one_model_is_one_table(repo, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    repo.makepyfile(test_gates=PASSING)
    lines = own_lines(repo.runpytest_inprocess("--quant"))
    assert max(map(width_of, lines)) <= columns
    text = "\n".join(lines)
    assert not re.search("ms/batch|speed-up \\[|best FP32", text)
    assert "Sequential" in text
    shown = r"dynamic\s.* 1\.34x\s.* 98\.44 %\s.* 1\.56 pt\s.* 1 PASS"
    assert re.search(shown, text, 0 if columns > 80 else re.DOTALL)


@pytest.mark.parametrize("columns", [80, 100, 200])
def test_three_models_with_all_that_can_be_measured(repo, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    conftest = CONFTEST.replace("def quant_model()", "def classifier()") + THREE
    repo.makeconftest(conftest)
    repo.makepyfile(test_gates=TIMED)
    result = repo.runpytest_inprocess("--quant")
    result.assert_outcomes(passed=3)
    lines = own_lines(result)
    assert max(map(width_of, lines)) <= columns
    for name in (
        "small",
        "a-model-with-a-long-name-of-its-own",
        "ImageClassifierWithARatherLongName",
    ):
        starts = [line for line in lines if line.startswith(name)]
        assert any(line == name or " fp32 " in line for line in starts)
    text = "\n".join(lines)
    assert text.count("3 PASS") == 3
    assert len(re.findall(r"\[\d+\.\d+, \d+\.\d+\]", text)) == 3


@pytest.mark.parametrize("columns", [80, 100])
def test_an_error_fits_on_one_screen(repo, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    repo.makeconftest(
        CONFTEST.replace("return torch.nn.Sequential", "return 3; torch.nn.Sequential")
    )
    repo.makepyfile(test_gates=PASSING)
    result = repo.runpytest_inprocess("--quant", "-q")
    result.assert_outcomes(errors=1)
    rows = sum(-(-max(1, width_of(line)) // columns) for line in result.outlines)
    assert rows <= 24
    assert max(map(width_of, own_lines(result))) <= columns


@pytest.mark.parametrize("columns", [80, 100])
def test_a_breach_fits_too(repo, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    repo.makepyfile(test_gates=PASSING.replace("0.5", "0.001"))
    result = repo.runpytest_inprocess("--quant", "--quant-durations", "--quant-explain")
    result.assert_outcomes(failed=1)
    assert max(map(width_of, own_lines(result))) <= columns


def test_a_pipe_has_no_columns_to_fit(repo, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    repo.makeconftest(CONFTEST.replace("def quant_model()", "def classifier()") + THREE)
    repo.makepyfile(test_gates=TIMED)
    lines = own_lines(repo.runpytest_inprocess("--quant", "-k", "long-name"))
    assert max(map(width_of, lines)) > 120
    assert sum("a-model-with-a-long-name-of-its-own  " in line for line in lines) == 2


def test_files_keep_every_column(repo, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    repo.makepyfile(test_gates=PASSING)
    repo.runpytest_inprocess("--quant", "--quant-report=out")
    page = (repo.path / "out" / "report.md").read_text()
    assert "speed-up" in page
    assert "vs best FP32" in page


def test_a_saved_report_is_shown_to_fit(repo, monkeypatch, capsys):
    from pytest_quant.__main__ import main

    repo.makepyfile(test_gates=PASSING)
    repo.runpytest_inprocess("--quant", "--quant-report=out")
    monkeypatch.setenv("COLUMNS", "80")
    capsys.readouterr()
    assert main(["show", str(repo.path / "out" / "report.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(width_of, lines)) <= 80
    assert "ms/batch" not in "\n".join(lines)
