"""What README and documentation show works as it stands: a first gate, hypothesis, classes and xfail."""

import re
from pathlib import Path

import pytest
from test_explained import CONFTEST as AT_FAULT
from test_explained import GATES
from test_verdicts import FASTER, NEITHER, PLANTED, SLOWER
from toyrepo import CONFTEST

ROOT = Path(__file__, "../../..").resolve()


def shown(page):
    """The Python of a page."""
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.S)


FIXTURES, GATE, *_ = shown("README.md")
HYPOTHESIS, CLASSES, XFAIL = shown("docs/how_to/hypothesis_classes_xfail.md")
FIRST = """
import torch


def load_my_model():
    torch.manual_seed(0)
    wide = [torch.nn.Linear(8, 512), torch.nn.ReLU(), torch.nn.Linear(512, 512), torch.nn.ReLU()]
    return torch.nn.Sequential(*wide, torch.nn.Linear(512, 3)).eval()


def my_test_loader(seed=1):  # of 512 samples the 64 that FP32 is surest of
    x = torch.randn(512, 8, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        best, second = load_my_model()(x).topk(2).values.T
        x = x[(best - second).argsort()[-64:]]
        return list(zip(x.split(16), load_my_model()(x).argmax(1).split(16)))


def my_train_loader():
    return my_test_loader(2)
"""
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


@pytest.mark.parametrize(("ratios", "answer"), [(FASTER, "yes"), (SLOWER, "no")])
def test_the_first_gate_judges(pytester, ratios, answer):
    pytester.makeconftest(FIXTURES + FIRST + PLANTED)
    pytester.makepyfile(f"import pytest\n\npytestmark = pytest.mark.ratio({ratios})\n\n{GATE}")
    result = pytester.runpytest_inprocess("--quant")
    result.assert_outcomes(**{"yes": {"passed": 1}, "no": {"failed": 1}}[answer])
    result.stdout.fnmatch_lines([f"may ship: {answer}: *"])


@pytest.mark.parametrize("page", ["README.md", "docs/how_to/read_a_failure.md"])
def test_the_failure_that_is_shown_is_what_is_printed(pytester, page):
    text = (ROOT / page).read_text(encoding="utf-8")
    block = next(each for each in re.findall(r"```text\n(.*?)```", text, re.S) if "FAIL" in each)
    pytester.makeconftest(AT_FAULT)
    pytester.makepyfile(test_gates=GATES.format(limit=0.05))
    printed = pytester.runpytest_inprocess("--quant", "--quant-mend").outlines
    shown = without_figures(block.splitlines())
    assert len(shown) > 5
    assert shown <= without_figures(printed)


def without_figures(lines):
    """The lines, but for what differs from machine to machine."""
    return {" ".join(re.sub(r"-?\d+(\.\d+)?", "0", line).split()) for line in lines}


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
