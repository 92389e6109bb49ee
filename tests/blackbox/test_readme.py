"""What the README shows of hypothesis, classes and xfail works as it stands."""

import re
from pathlib import Path

import pytest
from test_verdicts import FASTER, NEITHER, PLANTED, SLOWER
from toyrepo import CONFTEST

README = Path(__file__, "../../../README.md").resolve().read_text(encoding="utf-8")
SECTION = README.partition("### With hypothesis, classes and xfail\n")[2].partition("\n## ")[0]
HYPOTHESIS, CLASSES, XFAIL = re.findall(r"```python\n(.*?)```", SECTION, re.S)
GIVEN = """
import pytest
import torch
from pytest_quant import assert_max_size, assert_min_speedup


def make_small_net():
    return torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.ReLU(), torch.nn.Linear(64, 3))
"""


@pytest.fixture
def repo(pytester):
    pytester.makeconftest(CONFTEST + PLANTED)
    return pytester


def test_hypothesis_gives_one_variant_many_examples(repo):
    repo.makepyfile(GIVEN + HYPOTHESIS + "\n\ndef test_size(quant_static):"
                    "\n    assert_max_size(quant_static, ratio=0.9)\n")  # fmt: skip
    result = repo.runpytest_inprocess("--quant", "--hypothesis-show-statistics")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["may ship: yes: *its one gate holds*", "*100 passing*"])


def test_a_class_has_its_own_model_and_shares_a_variant(repo):
    again = "\n    def test_again(self):\n        assert_max_size(self.variant, ratio=0.8)\n"
    repo.makepyfile(GIVEN + CLASSES + again)
    result = repo.runpytest_inprocess("--quant", "-W", "error")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["* static *2 PASS", "may ship: yes: *all 2 gates hold (static)*"])


@pytest.mark.parametrize(
    ("ratios", "outcomes", "answer"),
    [
        (SLOWER, {"xfailed": 2}, "undecided"),
        (NEITHER, {"xfailed": 1}, "undecided"),
        (FASTER, {"failed": 2}, "no"),
    ],
    ids=["slower", "neither", "faster"],
)
def test_strict_xfail_knows_three_outcomes(repo, ratios, outcomes, answer):
    planted = f"\npytestmark = pytest.mark.ratio({ratios})\n\n\n"
    repo.makepyfile(GIVEN + planted + XFAIL)
    result = repo.runpytest_inprocess("--quant")
    result.assert_outcomes(**outcomes)
    assert result.ret == (1 if "failed" in outcomes else 0)
    result.stdout.fnmatch_lines([f"may ship: {answer}: *"])
    assert ("1 inconclusive" in result.stdout.str()) == (ratios is NEITHER)


def test_where_undecided_gates_fail_strict_xfail_tells_why(repo):
    repo.makepyfile(f"{GIVEN}\npytestmark = pytest.mark.ratio({NEITHER})\n\n\n{XFAIL}")
    result = repo.runpytest_inprocess(
        "--quant", "--quant-inconclusive=fail", "-k", "test_is_faster"
    )
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(["*speed-up INCONCLUSIVE: dynamic is*"])
