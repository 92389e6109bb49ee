"""A tiny model repo in which all is well; each test then spoils one thing in a folder of it."""

import textwrap

import pytest

TOYS = '''
"""Three classes that one look at the first three features tells apart; weights in closed form."""

import torch
from torch import nn


def batches(seed, count=320, size=80):
    x = torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))
    return list(zip(x.split(size), x[:, :3].argmax(1).split(size)))


def images(seed, count=320, size=80):
    """Of 1 x 4 x 4 pixels, the same classes: the first three pixels of the first row."""
    x = torch.randn(count, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    return list(zip(x.split(size), x[:, 0, 0, :3].argmax(1).split(size)))


def linear_pair():
    """x -> relu(x), relu(-x) -> x[:3], so that FP32 is always right."""
    first, last = nn.Linear(6, 12), nn.Linear(12, 3)
    with torch.no_grad():
        first.weight.copy_(torch.cat([torch.eye(6), -torch.eye(6)]))
        last.weight.copy_(torch.cat([torch.eye(6), -torch.eye(6)], dim=1)[:3])
        first.bias.zero_()
        last.bias.zero_()
    return first, last


def classifier():
    first, last = linear_pair()
    return nn.Sequential(first, nn.ReLU(), last).eval()


class Own(nn.Module):
    """The classifier with something of one's own between or after its two layers."""

    def __init__(self):
        super().__init__()
        self.first, self.last = linear_pair()
        self.eval()

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))
'''
CONFTEST = """
import pytest
from pytest_quant import Subject
from toys import batches, classifier


@pytest.fixture(scope="session")
def quant_model():
    return Subject(classifier(), name="good")


@pytest.fixture(scope="session")
def quant_eval_data():
    return batches(seed=1)


@pytest.fixture(scope="session")
def quant_train_data():
    return batches(seed=2)
"""
GOOD = """
from pytest_quant import assert_gates


def test_good(quant_dynamic):
    assert_gates(quant_dynamic, max_accuracy_drop=0.1, max_size_ratio=0.9)
"""
# what a spoilt folder starts with: a model of its own name, so that its rows are its own
NAMED = """
import numpy as np
import pytest
import torch
from torch import nn
from pytest_quant import Metric, Recipe, Subject
from toys import Own, batches, classifier, images, linear_pair


@pytest.fixture(scope="session")
def quant_model():
    return Subject(classifier(), name="bad")
"""
GATES = """
import pytest
from pytest_quant import *
"""


class ModelRepo:
    """A repo with the model ``good``, and a folder ``bad`` with a model that one thing is wrong with."""

    def __init__(self, pytester):
        self.pytester = pytester
        self.path = pytester.path
        pytester.makepyfile(toys=TOYS, test_good=GOOD)
        pytester.makeconftest(CONFTEST)
        pytester.syspathinsert()

    def spoil(self, fixtures, tests):
        """Fixtures of the folder ``bad``, in the place of the good ones, and its tests."""
        folder = self.path / "bad"
        folder.mkdir()
        (folder / "conftest.py").write_text(NAMED + textwrap.dedent(fixtures))
        (folder / "test_bad.py").write_text(GATES + textwrap.dedent(tests))

    def run(self, *args, **how):
        """One run with gates on, in this process."""
        return self.pytester.runpytest_inprocess("--quant", "--quant-threads=1", "-q", *args, **how)

    def judge(self, *args, **outcomes):
        """Run, compare the outcomes, and see that the good model was judged and tabulated all the same."""
        result = self.run(*args)
        result.assert_outcomes(**{**outcomes, "passed": outcomes.get("passed", 0) + 1})
        assert_good_is_tabulated(result)
        return result


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    """In which no table is broken up and no sentence wraps; tests of narrower ones say so themselves."""
    monkeypatch.setenv("COLUMNS", "500")


def assert_good_is_tabulated(result):
    result.stdout.fnmatch_lines(["model *variant *gates", "good * dynamic *x * % * pt * 2 PASS"])


@pytest.fixture
def model_repo(pytester):
    """A tiny model repo in order; `spoil` one thing, then `judge`."""
    return ModelRepo(pytester)
