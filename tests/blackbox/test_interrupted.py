"""A run that is stopped, or started by mistake, says so."""

import json

from toyrepo import CONFTEST, GATES

STOPS = """

@pytest.fixture(scope="session")
def quant_train():
    def train(model):
        raise KeyboardInterrupt
    return train
"""


def test_an_interrupted_report_says_so(pytester):
    pytester.makeconftest(CONFTEST + STOPS)
    pytester.makepyfile(test_gates=GATES)
    result = pytester.runpytest_inprocess("--quant", "--quant-report=out", no_reraise_ctrlc=True)
    assert result.ret == 2
    result.stdout.fnmatch_lines(["*static*1 PASS*", "the run was interrupted*"])
    assert json.loads((pytester.path / "out" / "report.json").read_text())["interrupted"] is True
    assert "the run was interrupted" in (pytester.path / "out" / "report.md").read_text()


def test_options_without_the_switch_are_refused(pytester):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_gates=GATES)
    result = pytester.runpytest("--quant-all", "--quant-variants=static")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*--quant-variants, --quant-all has no effect without --quant*"])
    pytester.runpytest("--no-quant", "--quant-all").assert_outcomes(passed=1, skipped=3)


def test_a_run_that_ends_before_its_tests_does_not_say_that_none_asked(pytester):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_broken="import nothing_of_this_name")
    result = pytester.runpytest("--quant")
    result.stdout.fnmatch_lines(["nothing was judged*"])


def test_a_recipe_without_indirect_is_told_so(pytester):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(
        """
        import pytest
        from pytest_quant import Recipe, assert_max_size

        @pytest.mark.parametrize("quant_variant", [Recipe("static")])
        def test_direct(quant_variant):
            assert_max_size(quant_variant, ratio=0.5)
        """
    )
    result = pytester.runpytest("--quant")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*TypeError: *parametrize with indirect=True*"])


def test_the_environments_threads_are_kept(pytester, monkeypatch):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_gates=GATES)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    pytester.runpytest("--quant", "-k", "dynamic").stdout.fnmatch_lines(["torch *, 3 threads, *"])
    result = pytester.runpytest("--quant", "-k", "dynamic", "--quant-threads=1")
    result.stdout.fnmatch_lines(["torch *, 1 thread, *"])
