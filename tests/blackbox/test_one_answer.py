"""One answer: what a failing part or worker of a test says is never replaced by a later pass."""

import json
import subprocess

import pytest
from toyrepo import CONFTEST, RERUN

from pytest_quant.__main__ import main

SUBTESTS = """
import unittest
from pytest_quant import assert_max_size

import pytest


@pytest.fixture
def variant(request, quant_dynamic):
    request.cls.variant = quant_dynamic


@pytest.mark.usefixtures("variant")
class TestSizes(unittest.TestCase):
    def test_sizes(self):
        for ratio in {ratios}:
            with self.subTest(ratio=ratio):
                assert_max_size(self.variant, ratio=ratio)
"""
FLAKY = """
from pytest_quant import assert_max_size

tries = []


def test_size(quant_dynamic):
    tries.append(1)
    assert_max_size(quant_dynamic, ratio={ratios}[len(tries) - 1])
"""
PASSES, FAILS = 0.9, 0.001


def run(pytester, *arguments, code):
    result = pytester.runpytest("--quant", "--quant-report=out", *arguments)
    assert result.ret == code
    return result, json.loads((pytester.path / "out" / "report.json").read_text())


@pytest.mark.parametrize("ratios", [(PASSES, FAILS), (FAILS, PASSES)])
def test_a_subtest_that_fails_is_a_no_whatever_comes_after_it(pytester, ratios):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(SUBTESTS.format(ratios=ratios))
    result, report = run(pytester, code=1)
    result.stdout.fnmatch_lines(["may ship: no: *size FAIL*"])
    assert report["may_ship"]["expected"] == []


def test_subtests_that_all_pass_are_a_yes(pytester):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(SUBTESTS.format(ratios=(PASSES, 0.95)))
    result, _ = run(pytester, code=0)
    result.stdout.fnmatch_lines(["may ship: yes: *all 2 gates hold*"])


def test_of_a_test_that_is_run_again_only_the_last_try_counts(pytester):
    pytester.makeconftest(CONFTEST + RERUN)
    pytester.makepyfile(FLAKY.format(ratios=(FAILS, PASSES)))
    result, report = run(pytester, "--quant-junit", "--junit-xml=junit.xml", code=0)
    result.stdout.fnmatch_lines(["* dynamic *1 PASS", "may ship: yes: *its one gate holds*"])
    assert [verdict["outcome"] for verdict in report["verdicts"]] == ["PASS"]
    junit = (pytester.path / "junit.xml").read_text()
    assert "PASS" in junit
    assert "FAIL" not in junit


def test_a_last_try_that_fails_is_a_no(pytester):
    pytester.makeconftest(CONFTEST + RERUN)
    pytester.makepyfile(FLAKY.format(ratios=(PASSES * 0, FAILS)))
    result, report = run(pytester, code=1)
    result.stdout.fnmatch_lines(["may ship: no: *size FAIL*"])
    assert len(report["verdicts"]) == 1


def test_merging_a_red_and_a_green_run_of_one_repo_is_a_no_in_either_order(pytester, capsys):
    pytester.makeconftest(CONFTEST)
    for name, ratio, code in (("bad", FAILS, 1), ("good", PASSES, 0)):
        pytester.makepyfile(test_it=FLAKY.format(ratios=[ratio]))
        assert pytester.runpytest("--quant", f"--quant-report={name}").ret == code
    capsys.readouterr()
    answers = []
    for order in (("bad", "good"), ("good", "bad")):
        files = [str(pytester.path / name / "report.json") for name in order]
        assert main(["merge", *files, "--format=json"]) == 0
        answers.append(json.loads(capsys.readouterr().out)["may_ship"]["answer"])
    assert answers == ["no", "no"]


@pytest.mark.slow
def test_a_model_that_is_another_in_each_worker_is_no_yes(pytester):
    pytester.makeconftest(
        CONFTEST.replace("last.bias.zero_()", "torch.seed(); last.bias.normal_()")
    )
    for name in "ab":
        pytester.makepyfile(**{f"test_{name}": FLAKY.format(ratios=[PASSES])})
    result, report = run(pytester, "-n", "2", "--dist=loadfile", "--quant-save=main", code=1)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            "may ship: undecided: Sequential: not the same in all tests: FP32's weights.*",
            "baseline main was not saved: not the same in all tests: FP32's weights.*",
        ]
    )
    assert len({row["fp32_digest"] for row in report["rows"]}) == 1


PARTS = """
from pytest_quant import assert_max_accuracy_drop, assert_max_size


def test_drop(quant_dynamic):
    assert_max_accuracy_drop(quant_dynamic, 0.5)


def test_size(quant_dynamic):
    assert_max_size(quant_dynamic, ratio=0.9)
"""


def test_parts_of_two_commits_or_checkpoints_are_not_merged(pytester, monkeypatch, capsys):
    """One part has the accuracy, another the size; of one commit they are a yes, in either order."""
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "a")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "a@a.invalid")

    def commit():
        for arguments in (["add", "."], ["commit", "-q", "-m", "x"]):
            subprocess.run(["git", *arguments], cwd=pytester.path, check=True)

    def part(name):
        arguments = (f"--quant-report={name}", "-k", name[:4], "-p", "no:cacheprovider")
        assert pytester.runpytest_inprocess("--quant", *arguments).ret == 0

    def merged(*names):
        capsys.readouterr()
        codes = []
        for order in (names, names[::-1]):
            files = [str(pytester.path / name / "report.json") for name in order]
            codes.append(main(["merge", *files]))
        out, err = capsys.readouterr()
        assert codes[0] == codes[1]
        return (out + err).replace(str(pytester.path) + "/", "")

    subprocess.run(["git", "init", "-q"], cwd=pytester.path, check=True)
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_it=PARTS)
    commit()
    part("drop")
    part("size")
    assert (
        merged("drop", "size").count("may ship: yes: Sequential: all 2 gates hold (dynamic)") == 2
    )
    changed = CONFTEST.replace("last.bias.zero_()", "last.bias.zero_(); last.bias[0] = 1")
    pytester.makeconftest(changed)
    part("size-dirty")
    said = merged("drop", "size-dirty")
    assert said.count("cannot be merged") == 2
    assert "FP32's weights of Sequential (" in said
    assert "may ship" not in said
    pytester.makeconftest(CONFTEST + "\n# another comment\n")
    part("size-changed")
    said = merged("drop", "size-changed")
    assert said.count("may ship: yes") == 2
    assert (
        said.count("size-changed/report.json was measured with changes that are in no commit") == 2
    )
    commit()
    part("size-later")
    said = merged("drop", "size-later")
    assert said.count("cannot be merged") == 2
    assert "commit of Sequential (" in said
    assert "FP32's weights" not in said
