"""A sentence of ours stands in full where its test failed, an error beside the table too, and is never cut;
elsewhere it goes by its name."""

import re

import pytest
from toyrepo import CONFTEST

FIXTURES = """

def spoiled(module):
    with torch.no_grad():
        module[2].bias[2] -= 100
    return torch.ao.quantization.quantize_dynamic(module, {torch.nn.Linear})


def broken(module):
    raise ValueError("this build is broken")


def pytest_quant_recipes(config):
    from pytest_quant import Recipe

    return {"bad": Recipe("custom", build=spoiled), "broken": Recipe("custom", build=broken)}
"""
BREACH = """
import pytest
from pytest_quant import assert_gates, assert_max_accuracy_drop

@pytest.mark.parametrize("quant_variant", ["bad"], indirect=True)
def test_breach(quant_variant):
    assert_max_accuracy_drop(quant_variant, 0.01)
"""
CASES = {
    "a gate that FAILs": (BREACH, 1),
    "two gates that FAIL": (
        BREACH.replace(
            "assert_max_accuracy_drop(quant_variant, 0.01)",
            "assert_gates(quant_variant, max_accuracy_drop=0.01, max_size_mb=0.0)",
        ),
        2,
    ),
    "one breach in three tests": (
        BREACH + "\n\ntest_again = test_breach\n\n\ntest_and_again = test_breach\n",
        1,
    ),
    "an error in three tests": (
        BREACH.replace('"bad"', '"broken"')
        + "\n\ntest_again = test_breach\n\n\ntest_and_again = test_breach\n",
        1,
    ),
    "no model": (
        """
import pytest

@pytest.fixture(scope="session")
def quant_model():
    from pytest_quant import Subject

    return Subject("no module", name="none")

def test_static(quant_static):
    pass

def test_dynamic(quant_dynamic):
    pass
""",
        1,
    ),
    "a fixture of the user's": (
        """
import pytest

@pytest.fixture(scope="session")
def quant_metric():
    raise OSError("no such metric")

def test_static(quant_dynamic):
    pass
""",
        1,
    ),
    "a wrong argument": (
        """
from pytest_quant import assert_max_size

def test_size(quant_dynamic):
    assert_max_size(quant_dynamic)
""",
        1,
    ),
    "an undecided gate": (
        """
from pytest_quant import assert_max_accuracy_drop

def test_population(quant_dynamic):
    assert_max_accuracy_drop(quant_dynamic, 0.0001, scope="population")
""",
        1,
    ),
}
WITH_A_ROW = ("an error in three tests", "no model", "a fixture of the user's")
BEGINS = re.compile(r"(?:\w+ (?:ERROR|FAIL|INCONCLUSIVE): |assert_max_size takes ).{25}")


@pytest.fixture
def repo(pytester):
    pytester.makeconftest(CONFTEST + FIXTURES)
    return pytester


def sentences_of(result):
    """How often each sentence of ours stands in an output, told by how it begins."""
    found = BEGINS.findall(result.stdout.str())
    return {sentence: found.count(sentence) for sentence in found}


@pytest.mark.parametrize("options", [(), ("-vv",), ("--tb=short",), ("--tb=no",), ("--tb=native",)])
@pytest.mark.parametrize("case", CASES)
def test_each_sentence_stands_in_full(repo, case, options):
    source, count = CASES[case]
    repo.makepyfile(test_gates=source)
    result = repo.runpytest_inprocess("--quant", *options)
    assert result.ret == 1
    found = sentences_of(result)
    assert len(found) == count
    most = 2 if case in WITH_A_ROW and "--tb=no" not in options else 1
    assert set(found.values()) == {most}
    assert not re.search(r"\.\.\.$", result.stdout.str(), re.MULTILINE)


def test_elsewhere_it_is_named(repo):
    repo.makepyfile(test_gates=CASES["one breach in three tests"][0])
    result = repo.runpytest_inprocess("--quant")
    result.stdout.fnmatch_lines(
        [
            "E*AssertionError: accuracy FAIL: bad drops *",
            "E*accuracy FAIL, as reported for test_gates.py::test_breach?bad?",
            "E*accuracy FAIL, as reported for test_gates.py::test_breach?bad?",
            "Sequential * bad * accuracy FAIL",
            "may ship: no: Sequential: accuracy FAIL of bad",
            "FAILED test_gates.py::test_breach?bad? - accuracy FAIL",
            "FAILED test_gates.py::test_again?bad? - accuracy FAIL",
        ]
    )


def test_files_tell_everything(repo):
    import json
    from xml.etree import ElementTree

    repo.makepyfile(test_gates=CASES["one breach in three tests"][0])
    repo.runpytest_inprocess("--quant", "--quant-report=out", "--junitxml=junit.xml")
    failures = list(ElementTree.parse(repo.path / "junit.xml").getroot().iter("failure"))
    assert len(failures) == 3
    for failure in failures:
        assert "accuracy FAIL: bad drops" in failure.get("message")
        assert "allowed 1.00 pt" in failure.get("message")
        assert "accuracy FAIL: bad drops" in failure.text
    report = json.loads((repo.path / "out" / "report.json").read_text())
    assert "accuracy FAIL: bad drops" in report["may_ship"]["why"][0]


def test_a_name_that_does_not_fit_the_short_summary_is_left_out(repo, monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    source = BREACH.replace("test_breach", "test_breach_with_a_name_that_leaves_no_room_for_more")
    repo.makepyfile(test_gates=source)
    result = repo.runpytest_inprocess("--quant")
    line = next(line for line in result.outlines if line.startswith("FAILED "))
    assert line.endswith("[bad]")


def test_with_workers_each_sentence_stands_once_in_all(repo):
    repo.makepyfile(test_gates=CASES["one breach in three tests"][0])
    result = repo.runpytest_inprocess("--quant", "-n", "2")
    assert set(sentences_of(result).values()) == {1}


def test_of_one_model_no_place_is_shown(repo):
    folder = repo.mkdir("sub")
    (folder / "test_sub.py").write_text(BREACH)
    repo.makepyfile(test_gates=BREACH)
    result = repo.runpytest_inprocess("--quant")
    assert "Sequential (" not in result.stdout.str()
