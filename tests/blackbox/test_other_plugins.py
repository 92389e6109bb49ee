"""Beside other plugins of pytest: exit code, table, answer and JUnit are those of a run without them.

Each run loads pytest-quant, and the plugins that it names.
"""

import json
import xml.etree.ElementTree as ElementTree

import coverage.tracer  # noqa: F401  # cannot be imported twice: see conftest.py
import pytest
from toyrepo import CONFTEST

NO_TRAINING = CONFTEST.partition('@pytest.fixture(scope="session")\ndef quant_train_data')[0]
GATES = """
import pytest
from pytest_quant import assert_max_accuracy_drop, assert_max_size


def test_pass(quant_dynamic):
    assert_max_accuracy_drop(quant_dynamic, 0.5)


def test_fail(quant_dynamic):
    assert_max_size(quant_dynamic, ratio=0.001)


def test_error(quant_static):  # there is no calibration data
    assert_max_size(quant_static, ratio=0.9)


def test_skip(quant_dynamic):
    pytest.skip("not today")
"""
ENDS = {"pass": "passed", "fail": "failed", "error": "error", "skip": "skipped"}
ALONE = ("-p", "quant")
PLUGINS = {
    "rerunfailures": ["-p", "rerunfailures", "--reruns=1"],
    "randomly": ["-p", "randomly"],
    "randomly-seeded": ["-p", "randomly", "--randomly-seed=3"],
    "html": ["-p", "metadata", "-p", "html", "--html=out.html", "--self-contained-html"],
    "json-report": ["-p", "metadata", "-p", "pytest_jsonreport", "--json-report"],
    "cov": ["-p", "pytest_cov", "--cov=test_gates", "--cov-report="],
    "timeout": ["-p", "timeout", "--timeout=100"],
    "several": [
        "-p",
        "randomly",
        "-p",
        "rerunfailures",
        "--reruns=2",
        "-p",
        "timeout",
        "--timeout=100",
        "-p",
        "pytest-bdd",
        "-p",
        "pytest_cov",
        "--cov=test_gates",
        "--cov-report=",
    ],
    "timeout-thread": ["-p", "timeout", "--timeout=100", "--timeout-method=thread"],
}
DISTRIBUTIONS = {
    "load": ["-n2", *PLUGINS["rerunfailures"]],
    "each": ["--tx=2*popen"],
    "worksteal": ["-n2", *PLUGINS["html"], *PLUGINS["cov"]],
    "loadscope": ["-n1", *PLUGINS["randomly"], *PLUGINS["timeout"]],
    "loadfile": ["-n1"],
    "loadgroup": ["-n1"],
    "no": ["-n0"],
}


@pytest.fixture
def repo(pytester, monkeypatch):
    """A small repo with a test of each outcome, in which only named plugins are loaded."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("PYTEST_ADDOPTS")
    pytester.makeconftest(NO_TRAINING)
    pytester.makepyfile(test_gates=GATES)
    return pytester


def run(repo, *arguments):
    return repo.runpytest_inprocess(
        "--quant", "--no-quant-cache", "--quant-threads=1", "--quant-report=out", "--quant-junit",
        "--junit-xml=out.xml", *ALONE, *arguments,
    )  # fmt: skip


def said(repo, result):
    """All that a run says of its tests, without what differs from run to run."""
    report = json.loads((repo.path / "out" / "report.json").read_text())
    lines = result.stdout.str().splitlines()
    answer = report["may_ship"]
    return {
        "code": result.ret,
        "table": [line for line in lines if line.startswith(("model ", "Sequential "))],
        "line": sorted(next(line for line in lines if line.startswith("may ship:")).split("; ")),
        "tests": {test["nodeid"].partition("_")[2]: test["outcome"] for test in report["tests"]},
        "rows": [{k: row[k] for k in ("variant", "metrics", "size")} for row in report["rows"]],
        "verdicts": {(v["test"], v["variant"], v["sentence"], v["ended"]) for v in report["verdicts"]},
        "answer": (answer["answer"], {*answer["why"]}, answer["skipped"], {*answer["expected"]}),
        "junit": _cases(repo.path / "out.xml"),
    }  # fmt: skip


def _cases(path):
    """The test cases of a JUnit file. A rerun leaves an empty one beside the last try's, whatever the
    test is of."""
    cases = {_case(case) for case in ElementTree.parse(path).iter("testcase")}
    told = {case[0] for case in cases if any(case[1:])}
    return {case for case in cases if any(case[1:]) or case[0] not in told}


def _case(case):
    ends = {child.tag for child in case} & {"failure", "error", "skipped"}
    told = {(each.get("name"), each.get("value")) for each in case.iter("property")}
    return case.get("name"), frozenset(ends), frozenset(told)


@pytest.fixture(scope="module")
def known():
    """What the run without other plugins says: from the first test on that asks."""
    return {}


@pytest.fixture
def alone(repo, known):
    if not known:
        known.update(said(repo, run(repo)))
        assert {name.partition("test_")[2]: end for name, end in known["tests"].items()} == ENDS
        assert (known["code"], known["answer"][0]) == (1, "no")
    return known


@pytest.mark.parametrize("name", PLUGINS)
def test_a_plugin_changes_nothing_of_what_is_said(repo, alone, name):
    result = run(repo, *PLUGINS[name])
    assert said(repo, result) == alone


@pytest.mark.slow
@pytest.mark.parametrize("how", DISTRIBUTIONS)
def test_nor_does_any_distribution_over_workers_with_or_without_them(repo, alone, how):
    result = run(repo, "-p", "xdist", f"--dist={how}", *DISTRIBUTIONS[how])
    assert said(repo, result) == alone


FLAKY = """
import os
from pytest_quant import assert_max_size


def test_size(quant_dynamic):
    first = not os.path.exists("tried")
    open("tried", "w").close()
    assert_max_size(quant_dynamic, ratio=0.001 if first else 0.9)
"""


def test_a_rerun_that_passes_is_a_yes_in_all_that_is_said(repo):
    repo.makepyfile(test_gates=FLAKY)
    result = run(repo, *PLUGINS["rerunfailures"])
    found = said(repo, result)
    assert (found["code"], found["answer"][0]) == (0, "yes")
    assert [ended for *_, ended in found["verdicts"]] == ["passed"]
    assert "FAIL" not in (repo.path / "out.xml").read_text()
    result.stdout.no_fnmatch_line("*where it is lost*")


SUBTESTS = """
from pytest_quant import assert_max_size


def test_sizes(quant_dynamic, subtests):
    for ratio in {ratios}:
        with subtests.test(ratio=ratio):
            assert_max_size(quant_dynamic, ratio=ratio)
"""


@pytest.mark.parametrize(
    ("ratios", "code", "answer"),
    [((0.9, 0.001), 1, "no"), ((0.001, 0.9), 1, "no"), ((0.8, 0.9), 0, "yes")],
)
def test_subtests_of_pytest_itself_count_each(repo, ratios, code, answer):
    repo.makepyfile(test_gates=SUBTESTS.format(ratios=ratios))
    found = said(repo, run(repo))
    assert (found["code"], found["answer"][0]) == (code, answer)
    assert len(found["verdicts"]) == 2
    assert found["answer"][3] == set()


FEATURE = """
Feature: Shipping
  Scenario: small enough
    Given the dynamic variant
    Then it needs at most 0.9 of the size

  Scenario: too large
    Given the dynamic variant
    Then it needs at most 0.001 of the size

  Scenario: no data
    Given the static variant
    Then it needs at most 0.9 of the size
"""
STEPS = """
from pytest_bdd import given, parsers, scenarios, then
from pytest_quant import assert_max_size

scenarios("ship.feature")


@given(parsers.parse("the {kind} variant"), target_fixture="variant")
def variant(request, kind):
    return request.getfixturevalue(f"quant_{kind}")


@then(parsers.parse("it needs at most {ratio:f} of the size"))
def small_enough(variant, ratio):
    assert_max_size(variant, ratio=ratio)
"""


def test_scenarios_of_pytest_bdd_are_tests_of_their_variants(repo):
    (repo.path / "ship.feature").write_text(FEATURE)
    repo.makepyfile(test_gates=STEPS)
    result = run(repo, "-p", "pytest-bdd")
    result.assert_outcomes(passed=1, failed=1, errors=1)
    found = said(repo, result)
    assert found["code"] == 1
    assert {*found["tests"].values()} == {"passed", "failed", "error"}
    assert len(found["tests"]) == 3
    assert [row["variant"] for row in found["rows"]] == ["fp32", "dynamic", "static"]
    assert found["answer"][0] == "no"
    repo.runpytest_inprocess("-p", "pytest-bdd", *ALONE).assert_outcomes(skipped=3)


SLOW = """
import time
import pytest
from pytest_quant import assert_max_size


@pytest.mark.timeout(0.3, method="signal", func_only=True)
def test_slow(quant_dynamic):
    assert_max_size(quant_dynamic, ratio=0.9)
    time.sleep(60)


def test_quick(quant_dynamic):
    assert_max_size(quant_dynamic, ratio=0.9)
"""


def test_a_test_that_times_out_is_a_no(repo):
    repo.makepyfile(test_gates=SLOW)
    result = run(repo, "-p", "timeout", "--timeout=100")
    found = said(repo, result)
    assert (found["code"], found["answer"][0]) == (1, "no")
    assert {*found["tests"].values()} == {"failed", "passed"}


def test_what_others_report_agrees(repo, alone):
    run(repo, *PLUGINS["html"], *PLUGINS["json-report"])
    summary = json.loads((repo.path / ".report.json").read_text())["summary"]
    assert {name: summary[name] for name in ENDS.values()} == dict.fromkeys(ENDS.values(), 1)
    page = (repo.path / "out.html").read_text()
    assert all(f"1 {word}" in page for word in ("Passed", "Failed", "Error", "Skipped"))
