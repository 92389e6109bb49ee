"""When gates run, which of them, and that their switch disturbs nobody."""

import json

import pytest
from toyrepo import CONFTEST, GATES


@pytest.fixture
def repo(pytester):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_gates=GATES)
    return pytester


def test_without_the_switch_gates_are_skipped_and_no_input_is_built(pytester):
    pytester.makeconftest(
        """
        import pytest

        @pytest.fixture(scope="session")
        def quant_model():
            raise AssertionError("built")
        """
    )
    pytester.makepyfile(
        """
        import pytest

        def test_gate(quant_static): pass
        def test_inside(request): request.getfixturevalue("quant_static")
        def test_own_fixture(quant_positions): pass
        def test_own_unit(request): pass

        @pytest.fixture
        def quant_positions(): return 1
        """
    )
    result = pytester.runpytest("-rs")
    result.assert_outcomes(passed=2, skipped=2)
    result.stdout.fnmatch_lines(["SKIPPED*runs with --quant*"])
    result.stdout.no_fnmatch_line("*= quantization =*")


def test_gates_run_with_the_switch(repo):
    result = repo.runpytest("--quant")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(
        ["*= quantization =*", "torch *engine * thread*, *", "model*variant*MB*smaller*gates*"]
    )


@pytest.mark.parametrize(
    "ini",
    [
        "[tool.pytest]\nquant = true\nstrict = true\nquant_max_accuracy_drop = 0.5\nquant_threads = 1\n",
        "[tool.pytest.ini_options]\nquant = true\nstrict = true\nquant_max_accuracy_drop = '0.5'\n",
        "[tool.pytest.ini_options]\nquant = 'true'\nquant_max_accuracy_drop = 0.5\nquant_all = false\n",
    ],
)
def test_ini_switches_on_and_states_limits_and_the_command_line_wins(repo, ini):
    repo.makepyprojecttoml(ini)
    repo.makepyfile(
        test_gates="""
        from pytest_quant import assert_max_accuracy_drop

        def test_limit_from_ini(quant_static):
            assert assert_max_accuracy_drop(quant_static).limit == 0.5
        """
    )
    repo.runpytest().assert_outcomes(passed=1)
    repo.runpytest("--no-quant").assert_outcomes(skipped=1)
    result = repo.runpytest("--quant-max-accuracy-drop=0.25")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*0.25 == 0.5*"])


def test_limits_are_taken_from_call_then_marker_then_command_line_then_ini(repo):
    repo.makepyprojecttoml("[tool.pytest]\nquant_max_flips = 0.4\nquant_max_size_mb = 40.0\n")
    repo.makepyfile(
        test_gates="""
        import pytest
        from pytest_quant import assert_gates, assert_max_flips, assert_max_size

        pytestmark = pytest.mark.quant(max_flips=0.2, max_size_mb=20)

        @pytest.mark.quant(max_flips=0.1)
        def test_closest(quant_static):
            assert assert_max_flips(quant_static, 0.05).limit == 0.05
            assert assert_max_flips(quant_static).limit == 0.1
            assert assert_max_size(quant_static).limit == 20

        def test_module(quant_static):
            assert assert_max_flips(quant_static).limit == 0.2
            limits = {verdict.gate: verdict.limit for verdict in assert_gates(quant_static, max_flips=0.9)}
            assert limits == {"max_flips": 0.9, "max_size_mb": 20, "max_accuracy_drop": 0.3}
        """
    )
    repo.runpytest(
        "--quant", "--quant-max-accuracy-drop=0.3", "--quant-max-flips=0.3"
    ).assert_outcomes(passed=2)


def test_variants_can_be_chosen_and_the_rest_is_deselected(repo):
    repo.makepyfile(test_more="def test_each(quant_variant): pass\ndef test_base(quant_fp32): pass")
    result = repo.runpytest("--quant", "--quant-variants=static,dynamic", "-v")
    result.assert_outcomes(passed=6, deselected=2)
    result.stdout.no_fnmatch_line("*qat*")


def test_gates_are_marked_quant(repo):
    repo.runpytest("--quant", "-m", "not quant").assert_outcomes(passed=1, deselected=3)


@pytest.mark.parametrize(
    "arguments",
    [("-p", "no:cacheprovider"), ("-W", "error"), ("--strict-markers",), ("-q",), ("-s",)],
)
def test_it_gets_on_with_other_options(repo, arguments):
    repo.runpytest("--quant", *arguments).assert_outcomes(passed=4)


def test_a_run_without_gates_says_that_nothing_was_judged(pytester):
    pytester.makepyfile("def test_nothing(): pass")
    result = pytester.runpytest("--quant")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["no test used a variant*nothing was judged"])


def test_fixtures_are_documented(pytester):
    result = pytester.runpytest("--fixtures")
    for fixture in ("quant_model", "quant_static", "quant_latency_inputs", "quant_variant"):
        result.stdout.fnmatch_lines([f"{fixture}*"])
    result.stdout.no_fnmatch_line("*no docstring available*quant*")


def test_the_report_is_written_only_where_it_is_asked_for(repo):
    before = {path.name for path in repo.path.iterdir()}
    repo.runpytest("--quant", "-p", "no:cacheprovider").assert_outcomes(passed=4)
    assert {path.name for path in repo.path.iterdir()} - before <= {"__pycache__", ".benchmarks"}
    result = repo.runpytest("--quant", "--quant-report=out/quant", "--quant-format=github")
    result.stdout.fnmatch_lines(["| model*", "written: *report.json"])
    names = {path.name for path in (repo.path / "out" / "quant").iterdir()}
    assert names == {"report.json", "report.md", "report.csv", "report.html"}


def test_the_report_hook_gets_plain_data_and_the_frame(repo):
    repo.makeconftest(
        CONFTEST
        + """

def pytest_quant_report(report, frame):
    import json
    json.dumps(report)
    print("variants", [row["variant"] for row in report["rows"]], sorted(frame["variant"]))
"""
    )
    result = repo.runpytest("--quant", "-s")
    expected = "variants ['fp32', 'dynamic', 'static', 'qat'] ['dynamic', 'fp32', 'qat', 'static']"
    assert expected in result.stdout.str()


MUTATES = """

def pytest_quant_report(report, frame):
    report["tests"].clear()
    for verdict in report["verdicts"]:
        verdict["outcome"] = "PASS"
        del verdict["sentence"]
    {end}
"""


@pytest.mark.parametrize(
    ("end", "line"),
    [
        ("frame.drop(frame.index, inplace=True)", "written: *report.json"),
        ("pytest.fail('not on our dashboard')", "*pytest_quant_report raised Failed: not on our *"),
        ("pytest.skip('no dashboard')", "*pytest_quant_report raised Skipped: no dashboard"),
    ],
)
def test_whatever_the_report_hook_does_the_answer_and_the_files_are_the_runs(repo, end, line):
    repo.makeconftest(CONFTEST + MUTATES.format(end=end))
    repo.makepyfile(
        test_gates="""
        from pytest_quant import assert_max_size

        def test_fails(quant_dynamic):
            assert_max_size(quant_dynamic, ratio=0.001)
        """
    )
    result = repo.runpytest("--quant", "--quant-report=out")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["may ship: no: *size FAIL*", line])
    report = json.loads((repo.path / "out" / "report.json").read_text())
    assert report["may_ship"]["answer"] == "no"
    assert [verdict["outcome"] for verdict in report["verdicts"]] == ["FAIL"]
    assert len(report["tests"]) == 1
