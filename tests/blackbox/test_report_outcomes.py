"""How tests end decides whether the report says that the models may ship."""

import json

import pytest
from toyrepo import CONFTEST

OUTCOMES = """
import pytest
from pytest_quant import assert_max_accuracy_drop, assert_max_size, assert_min_int8_share


def test_passed(quant_static):
    assert_max_size(quant_static, ratio=0.9)


def test_expected(quant_static):
    with pytest.raises(AssertionError):
        assert_max_size(quant_static, ratio=0.001)


@pytest.mark.xfail
def test_xfailed(quant_static):
    assert_max_size(quant_static, ratio=0.002)


@pytest.mark.xfail(strict=False)
def test_xpassed(quant_dynamic):
    assert_max_size(quant_dynamic, ratio=0.9)


def test_inconclusive(quant_static):
    assert_max_accuracy_drop(quant_static, 0.01, scope="population")


@pytest.mark.skip(reason="not today")
def test_skipped(quant_static):
    pass


def test_of_no_variant():
    pass
"""
FAILURES = """

def test_failed(quant_dynamic):
    assert_max_size(quant_dynamic, ratio=0.003)


def test_own(quant_dynamic):
    assert quant_dynamic.name == "static", "wrong name"


def test_teardown(quant_dynamic, breaks):
    assert_max_size(quant_dynamic, ratio=0.9)


@pytest.fixture
def breaks():
    yield
    raise OSError("disk full")


@pytest.fixture
def broken():
    raise OSError("no network")


def test_setup(broken, quant_static):
    pass
"""


def report_of(pytester, *arguments):
    result = pytester.runpytest_inprocess(
        "--quant", "--quant-threads=1", "--quant-report=out", *arguments
    )
    return result, json.loads((pytester.path / "out" / "report.json").read_text())


def ends(report):
    return {test["nodeid"].split("::")[1]: test["outcome"] for test in report["tests"]}


@pytest.fixture
def repo(pytester):
    pytester.makeconftest(CONFTEST)
    return pytester


def test_the_report_holds_how_each_test_of_a_variant_ended(repo):
    repo.makepyfile(test_gates=OUTCOMES)
    result, report = report_of(repo, "--quant-inconclusive=report")
    assert result.ret == 0
    assert ends(report) == {
        "test_passed": "passed",
        "test_expected": "passed",
        "test_xfailed": "xfailed",
        "test_xpassed": "xpassed",
        "test_inconclusive": "inconclusive",
        "test_skipped": "skipped",
    }
    assert report["may_ship"]["answer"] == "undecided"
    (why,) = report["may_ship"]["why"]
    assert "accuracy INCONCLUSIVE: static" in why
    assert len(report["may_ship"]["expected"]) == 2
    assert report["may_ship"]["skipped"] == 1
    known = {tuple(each.values()) for each in report["tests"][0]["variants"]}
    assert known == {("", "Sequential", "fp32"), ("", "Sequential", "static")}
    (skipped,) = [test for test in report["tests"] if test["outcome"] == "skipped"]
    assert skipped["variants"] == [{"where": None, "model": None, "variant": "static"}]
    result.stdout.fnmatch_lines(
        [
            "may ship: undecided: Sequential: accuracy INCONCLUSIVE*"
            "2 FAIL caught or expected by their tests; 1 skipped: *"
        ]
    )


def test_without_the_undecided_one_it_may_ship(repo):
    repo.makepyfile(test_gates=OUTCOMES.replace("def test_inconclusive", "def not_a_test"))
    result, report = report_of(repo)
    result.stdout.fnmatch_lines(["may ship: yes: Sequential: its one gate holds (dynamic)*"])
    assert report["may_ship"]["answer"] == "yes"


def test_failures_and_errors_are_a_no_with_their_reasons(repo):
    repo.makepyfile(test_gates=OUTCOMES + FAILURES)
    result, report = report_of(repo)
    assert result.ret == 1
    assert ends(report) | {"test_inconclusive": "-"} == ends(report) | {
        "test_inconclusive": "-",
        "test_failed": "failed",
        "test_own": "failed",
        "test_teardown": "error",
        "test_setup": "error",
    }
    assert report["may_ship"]["answer"] == "no"
    why = "\n".join(report["may_ship"]["why"])
    for said in (
        "Sequential: size FAIL: dynamic",
        "test_gates.py::test_own failed: AssertionError: wrong name",
        "test_gates.py::test_teardown could not be run: OSError: disk full",
        "test_gates.py::test_setup could not be run: OSError: no network",
        "accuracy INCONCLUSIVE",
    ):
        assert said in why
    assert ends(report)["test_inconclusive"] == "inconclusive"  # it fails, but nothing is proven


def test_a_run_that_stops_early_is_undecided(repo):
    repo.makepyfile(
        """
        from pytest_quant import assert_max_size

        def test_static(quant_static):
            assert_max_size(quant_static, ratio=0.9)

        def test_unrelated():
            assert False

        def test_dynamic(quant_dynamic):
            assert_max_size(quant_dynamic, ratio=0.9)
        """
    )
    _, report = report_of(repo, "-x")
    assert report["interrupted"] is True
    assert report["may_ship"]["answer"] == "undecided"
    _, report = report_of(repo)
    assert report["interrupted"] is False
    assert report["may_ship"]["answer"] == "yes"


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("-x",), ()])
def test_with_workers_a_stop_and_a_crash_are_no_yes(repo, arguments):
    crash = "assert False" if arguments else "import os; os._exit(1)"
    repo.makepyfile(
        f"""
        from pytest_quant import assert_max_size

        def test_dynamic(quant_dynamic):
            assert_max_size(quant_dynamic, ratio=0.9)

        def test_unrelated(quant_dynamic):
            {crash}

        def test_static(quant_static):
            assert_max_size(quant_static, ratio=0.9)
        """
    )
    result, report = report_of(repo, "-n", "1", *arguments)
    assert result.ret != 0
    assert report["may_ship"]["answer"] == "no"
    why = " ".join(report["may_ship"]["why"])
    assert ("was interrupted" if arguments else "the worker that ran it crashed") in why


def test_a_file_that_cannot_be_collected_may_hold_gates(repo):
    repo.makepyfile(
        test_broken="import nothing_of_this_name",
        test_gates="""
        from pytest_quant import assert_max_size

        def test_static(quant_static):
            assert_max_size(quant_static, ratio=0.9)
        """,
    )
    result, report = report_of(repo, "--continue-on-collection-errors")
    assert report["may_ship"]["answer"] == "no"
    (why,) = report["may_ship"]["why"]
    assert why == (
        "test_broken.py could not be run: ModuleNotFoundError: No module named 'nothing_of_this_name'"
    )
    result.stdout.fnmatch_lines(["may ship: no: test_broken.py*"])


def test_a_model_that_cannot_be_loaded_is_a_no_though_nothing_is_known_of_it(repo):
    repo.makeconftest(
        CONFTEST
        + "\n\n@pytest.fixture(scope='session')\ndef quant_model():\n    raise OSError('gone')\n"
    )
    repo.makepyfile("def test_static(quant_static): pass")
    result, report = report_of(repo)
    assert (report["rows"], report["may_ship"]["answer"]) == ([], "no")
    assert "quant_model raised OSError: gone" in report["may_ship"]["why"][0]
    result.stdout.fnmatch_lines(["nothing was judged*", "may ship: no: *", "written: *report.html"])
    assert "May ship: <strong>no</strong>" in (repo.path / "out" / "report.html").read_text()


WHEN_IT_IS_OVER = """
import pytest
from pytest_quant import assert_max_accuracy_drop, assert_max_size


@pytest.fixture
def judged(quant_static):
    yield quant_static
    assert_max_accuracy_drop(quant_static, 0.01, scope="population")


def test_it(judged):
    assert_max_size(judged, ratio=0.9)
"""


@pytest.mark.parametrize(("how", "code"), [("auto", 1), ("fail", 1), ("report", 0)])
def test_a_gate_of_a_fixture_that_is_undecided_after_the_test_is_as_one_within_it(repo, how, code):
    repo.makepyfile(WHEN_IT_IS_OVER)
    result, report = report_of(repo, f"--quant-inconclusive={how}")
    assert result.ret == code
    assert result.parseoutcomes() == {"passed": 1, ("errors" if code else "inconclusive"): 1}
    assert report["may_ship"]["answer"] == "undecided"
    assert [verdict["ended"] for verdict in report["verdicts"]] == ["passed", "inconclusive"]


def test_a_strict_mark_that_a_test_passes_against_is_the_reason(repo):
    repo.makepyfile(
        """
        import pytest
        from pytest_quant import assert_max_size

        @pytest.mark.xfail(strict=True, reason="int8 was too large")
        def test_size(quant_dynamic):
            assert_max_size(quant_dynamic, ratio=0.9)
        """
    )
    _, report = report_of(repo)
    (why,) = report["may_ship"]["why"]
    assert why.endswith("test_size failed: [XPASS(strict)] int8 was too large")
