"""Stores that a test opens itself: two models of one name never share a row, whoever measured them."""

import json

import pytest
from toyrepo import CONFTEST

OWN = """
import pytest
import torch
from conftest import batches
from pytest_quant import (
    Conditions, Recipe, Subject, assert_max_accuracy_drop, assert_max_size, assert_no_regression, open_store
)


def model(hidden, seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(8, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, 3))


def served(hidden=16, recipe=Recipe("dynamic"), seed=0, name="served", conditions=Conditions(), **data):
    given = {"eval_data": batches(1), "calibration_data": batches(2)} | data
    return open_store(conditions).variant(Subject(model(hidden, seed), name, **given), recipe, "ours")
"""


@pytest.fixture
def repo(pytester):
    pytester.makeconftest(CONFTEST)
    return pytester


def rows_of(repo, code, *arguments, ret=0):
    """Of each row name shown and what it holds; and the answer."""
    from pytest_quant.report.document import Report

    repo.makepyfile(test_own=OWN + code)
    result = repo.runpytest_inprocess("--quant", "--quant-report=out", *arguments)
    assert result.ret == ret, result.stdout.str()
    text = (repo.path / "out" / "report.json").read_text()
    report = Report.from_json(text)
    models, variants = report.model_names(), report.variant_names()
    named = [(models[row.key.of_model], variants[row.key], row) for row in report.rows]
    document = json.loads(text)
    apart = len({row.model for row in report.rows}) < len({row.key.of_model for row in report.rows})
    assert any("models are called" in note for note in document["notes"]) == apart
    return named, document["may_ship"]["answer"]


def sizes(named, variant="fp32"):
    return sorted(row.size.tensor_bytes for _, name, row in named if name == variant)


TWO_TESTS = """
def test_small():
    variant = served(16)
    assert variant.fp32.size and assert_max_size(variant, ratio=0.9)

def test_large():
    variant = served(64)
    assert variant.fp32.size and assert_max_size(variant, ratio=0.9)
"""
ONE_TEST = """
def test_both():
    for hidden in (16, 64):
        variant = served(hidden)
        assert variant.fp32.size and assert_max_size(variant, ratio=0.9)
"""
SIZES = [4 * (8 * n + n + 3 * n + 3) for n in (16, 64)]


@pytest.mark.parametrize("code", [ONE_TEST, TWO_TESTS], ids=["one test", "two tests"])
def test_two_models_of_one_name_have_two_rows(repo, code):
    named, answer = rows_of(repo, code)
    assert sizes(named) == SIZES
    models = {model for model, _, _ in named}
    assert len(models) == 2
    assert all(name.startswith("served[#") for name in models)
    assert answer == "yes"


@pytest.mark.slow
def test_with_workers_they_have_the_same_rows(repo):
    alone, _ = rows_of(repo, TWO_TESTS)
    shared, answer = rows_of(repo, TWO_TESTS, "-n", "2")
    assert {(model, variant) for model, variant, _ in alone} == {(m, v) for m, v, _ in shared}
    assert sizes(shared) == SIZES
    assert answer == "yes"


def test_a_fixtures_model_and_one_of_a_store_have_two_rows(repo):
    named, answer = rows_of(
        repo,
        """
def test_fixtures(quant_dynamic):
    assert_max_size(quant_dynamic, ratio=0.9)

def test_own():
    variant = served(64, name=None)
    assert variant.fp32.size and assert_max_size(variant, ratio=0.9)
""",
    )
    assert sizes(named) == SIZES
    names = sorted({model for model, _, _ in named})
    assert names[0] == "Sequential"
    assert names[1].startswith("Sequential[#")
    assert answer == "yes"


def test_equal_models_of_two_tests_have_one_row_with_what_both_measured(repo):
    named, _ = rows_of(
        repo,
        """
def test_size():
    assert_max_size(served(), ratio=0.9)

def test_accuracy():
    assert_max_accuracy_drop(served(), 0.5)
""",
    )
    (row,) = [row for _, variant, row in named if variant == "ours"]
    assert row.size is not None
    assert row.metrics
    assert {(model, variant) for model, variant, _ in named} == {
        ("served", "fp32"),
        ("served", "ours"),
    }


UNKNOWN = """
import threading

class Unknown(list):
    def __init__(self, items):
        super().__init__(items)
        self.lock = threading.Lock()
"""
APART = [  # two calls of `served`, and how many rows of FP32 and of its variants they make
    ("", "seed=1", 2, 2),
    ("", "eval_data=batches(3)", 2, 2),
    ("", "metric=lambda o, t: o.argmax(1) == t", 2, 2),
    ("", "conditions=Conditions(threads=1, seed=1)", 2, 2),
    ("recipe=Recipe('static')", "recipe=Recipe('static'), calibration_data=batches(3)", 1, 2),
    ("", "calibration_data=batches(3)", 1, 1),  # on which dynamic does not depend
    ("", "recipe=Recipe('static')", 1, 2),
    ("recipe=Recipe('custom', build=lambda m: torch.ao.quantization.quantize_dynamic(m))",
     "recipe=Recipe('custom', build=lambda m: torch.ao.quantization.quantize_dynamic(m, None))",
     1, 2),
    ("eval_data=Unknown(batches(1))", "eval_data=Unknown(batches(1))", 2, 2),  # nobody knows what it holds
]  # fmt: skip


def test_each_input_tells_namesakes_apart(repo):
    """Each pair in a test, and under a name, of its own."""
    tests = [
        f"def test_{index}():\n"
        f"    for variant in [served(name='n{index}', {one}), served(name='n{index}', {other})]:\n"
        "        assert_max_size(variant, ratio=0.99)\n"
        for index, (one, other, _, _) in enumerate(APART)
    ]
    named, answer = rows_of(repo, UNKNOWN + "\n".join(tests))
    assert answer == "yes"
    for index, (one, other, fp32, own) in enumerate(APART):
        found = [variant for _, variant, row in named if row.model == f"n{index}"]
        kinds = sum(name == "fp32" for name in found), sum(name != "fp32" for name in found)
        assert kinds == (fp32, own), (one, other)


PINNED = """
@pytest.mark.parametrize("seed", {seeds})
def test_pinned(seed):
    assert_no_regression(served(seed=seed).fp32, "main", max_drop=0.9)
"""


def test_a_baseline_knows_another_checkpoint_again_but_not_another_model(repo):
    def run(seeds, *arguments, ret=0):
        rows_of(repo, PINNED.format(seeds=seeds), *arguments, ret=ret)

    run([0], "--quant-save=main")
    run([0])
    run([1])  # the one that is there, with other weights
    run([0, 1], "--quant-save=main", "--quant-force")
    run([1, 0])
    run([2], ret=1)  # which of the two it was, nobody knows
