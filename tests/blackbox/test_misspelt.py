"""A fixture that nobody asks for, and whose name is nearly an input's, is asked after."""

import pytest
from toyrepo import CONFTEST

GATES = """
from pytest_quant import assert_max_size


def test_size(quant_dynamic):
    assert_max_size(quant_dynamic, ratio=0.9)
"""
METRIC = """

@pytest.fixture(scope="session")
def {name}():
    return lambda outputs, targets: outputs.argmax(1) == targets
"""


@pytest.fixture
def run(pytester):
    def of(conftest, gates=GATES, *arguments):
        pytester.makeconftest(conftest)
        pytester.makepyfile(test_gates=gates)
        return pytester.runpytest_inprocess("--quant", "--no-quant-cache", *arguments)

    return of


@pytest.mark.parametrize("arguments", [(), ("-n", "1")])
@pytest.mark.parametrize(
    ("name", "meant"), [("quant_metrics", "quant_metric"), ("quant_los", "quant_loss")]
)
def test_one_that_stays_at_its_default_is_told(run, name, meant, arguments):
    result = run(CONFTEST + METRIC.format(name=name), GATES, *arguments)
    question = f"conftest.py has {name}, which nothing uses: is it meant to be {meant}?"
    assert question in " ".join(result.stdout.str().split())
    assert result.ret == 0


@pytest.mark.parametrize("name", ["quant_model", "quant_eval_data"])
def test_one_that_is_needed_is_told_where_it_is_missed(run, name):
    result = run(CONFTEST.replace(f"def {name}(", f"def {name[:-1]}("))
    said = " ".join(result.stdout.str().split())
    assert f"{name} is not defined" in said
    assert f"conftest.py has {name[:-1]}, which nothing uses: is it meant to be {name}?" in said


@pytest.mark.parametrize(
    "more",
    [
        METRIC.format(name="quant_metrics") + METRIC.format(name="quant_metric"),
        METRIC.format(name="quantum_chemistry"),
        METRIC.format(name="quant_metric_fn").replace("session", 'session", name="quant_metric'),
        METRIC.format(name="quantize_metric"),
        METRIC.format(name="small_metric"),
        METRIC.format(name="quant_metrics").replace('@pytest.fixture(scope="session")', ""),
    ],
)
def test_what_is_no_misspelling_is_not(run, more):
    assert "is it meant" not in run(CONFTEST + more).stdout.str()


def test_on_a_part_of_the_tests_nothing_is_asked(run):
    result = run(CONFTEST + METRIC.format(name="quant_metrics"), GATES, "-k", "size")
    assert "is it meant" not in result.stdout.str()


def test_what_a_test_asks_for_is_not(run):
    gates = GATES + "\n\ndef test_it(quant_metrics):\n    pass\n"
    result = run(CONFTEST + METRIC.format(name="quant_metrics"), gates)
    assert "is it meant" not in result.stdout.str()
