"""A gate that a conftest takes out of a run without a word, or that never runs, leaves it undecided."""

import json

import pytest
from toyrepo import CONFTEST, THREE_TESTS


def repo_with(pytester, more):
    pytester.makeconftest(CONFTEST + more)
    pytester.makepyfile(test_gates=THREE_TESTS)


def said(pytester, *arguments):
    result = pytester.runpytest_inprocess(
        "--quant", "--no-quant-cache", "--quant-report=out", *arguments
    )
    report = json.loads((pytester.path / "out" / "report.json").read_text())
    return result, report["may_ship"]["answer"], " ".join(report["may_ship"]["why"])


@pytest.mark.parametrize("arguments", [(), ("-n", "1")])
@pytest.mark.parametrize(
    "hook",
    [
        "def pytest_collection_modifyitems(items):\n    ",
        "@pytest.hookimpl(wrapper=True)\ndef pytest_collection_modifyitems(items):\n    yield\n    ",
        "@pytest.hookimpl(tryfirst=True)\ndef pytest_collection_modifyitems(items):\n    ",
    ],
)
def test_what_a_conftest_filters_away_is_told_as_deselected(pytester, hook, arguments):
    keep = "items[:] = [each for each in items if 'accuracy' not in each.name]\n"
    repo_with(pytester, f"\n\n{hook}{keep}")
    result, answer, why = said(pytester, *arguments)
    if not arguments:
        result.assert_outcomes(passed=2, deselected=1)
    assert answer == "undecided"
    assert why == "1 test of variants deselected: test_gates.py::test_accuracy"


def test_such_a_run_is_no_baseline(pytester):
    keep = "items[:] = [each for each in items if 'accuracy' not in each.name]\n"
    repo_with(pytester, f"\n\ndef pytest_collection_modifyitems(items):\n    {keep}")
    result = pytester.runpytest_inprocess("--quant", "--quant-save=main")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--quant-save needs a whole run, but 1 tests of variants were*"])


def test_what_is_told_or_put_in_the_place_of_another_or_of_no_variant_counts_once_or_not(pytester):
    repo_with(
        pytester,
        """

def pytest_collection_modifyitems(config, items):
    told = [each for each in items if each.name == "test_accuracy"]
    config.hook.pytest_deselected(items=told)
    again = [type(each).from_parent(each.parent, name=each.name) for each in items]
    items[:] = [each for each in again if each.name == "test_size"]
""",
    )
    result, answer, why = said(pytester)
    result.assert_outcomes(passed=1, deselected=1)
    assert (answer, why.count("test_accuracy")) == ("undecided", 1)
    assert "1 test of variants deselected" in why


def test_a_test_that_is_collected_and_never_run_is_told(pytester):
    keep = "session.items[:] = [each for each in session.items if 'accuracy' not in each.name]\n"
    repo_with(pytester, f"\n\ndef pytest_collection_finish(session):\n    {keep}")
    result, answer, why = said(pytester)
    result.assert_outcomes(passed=2)
    assert (answer, why) == (
        "undecided",
        "1 test of variants deselected: test_gates.py::test_accuracy",
    )


def test_a_run_that_a_hook_of_the_repo_breaks_off_is_undecided(pytester):
    repo_with(
        pytester,
        """

def pytest_runtest_logfinish(nodeid):
    assert "size" not in nodeid
""",
    )
    result, answer, why = said(pytester)
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    assert (answer, why) == (
        "undecided",
        "the run was interrupted, so verdicts are missing",
    )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("-k", "nothing"), "nothing was judged: 2 tests of variants deselected: test_gates.py::*"),
        (("-k", "no_variant"), "nothing was judged: 2 tests of variants deselected: *"),
    ],
)
def test_without_a_table_it_is_said_why(pytester, arguments, line):
    repo_with(pytester, "")
    result = pytester.runpytest_inprocess("--quant", *arguments)
    result.stdout.fnmatch_lines([line])


def test_where_all_was_skipped_nobody_says_that_no_test_asked(pytester):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(
        "import pytest\n\n@pytest.mark.skip('no card')\ndef test_it(quant_qat): pass"
    )
    result = pytester.runpytest_inprocess("--quant")
    result.stdout.fnmatch_lines(["nothing was judged: no variant was built", "*no card*"])


@pytest.mark.parametrize("argument", ["--collect-only", "--setup-plan"])
def test_what_only_lists_tests_has_no_summary_of_what_was_judged(pytester, argument):
    repo_with(pytester, "")
    result = pytester.runpytest_inprocess("--quant", argument)
    assert result.ret == 0
    result.stdout.no_fnmatch_line("*quantization*")
