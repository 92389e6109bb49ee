"""Verdicts as properties in JUnit XML, for those who ask."""

import xml.etree.ElementTree as ElementTree

import pytest
from toyrepo import CONFTEST

GATES = """
import pytest
from pytest_quant import assert_gates, assert_max_size


def test_twice(quant_dynamic):
    assert_gates(quant_dynamic, max_accuracy_drop=0.5, max_size_ratio=0.9)
    assert_max_size(quant_dynamic, ratio=0.8)


def test_fails(quant_dynamic):
    assert_max_size(quant_dynamic, ratio=0.001)


def test_of_no_variant():
    pass
"""


def properties(repo, *arguments):
    repo.runpytest_inprocess("--quant", "--quant-threads=1", "--junit-xml=out.xml", *arguments)
    return properties_of(repo.path / "out.xml")


def properties_of(path):
    """The properties of each test of a file, by the test's name."""
    cases = ElementTree.parse(path).iter("testcase")
    return {
        case.get("name"): {each.get("name"): each.get("value") for each in case.iter("property")}
        for case in cases
    }


@pytest.fixture
def repo(pytester):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(GATES)
    return pytester


def assert_each_verdict_is_there(found):
    assert found["test_of_no_variant"] == {}
    twice, fails = found["test_twice"], found["test_fails"]
    assert twice["quant_max_accuracy_drop_outcome"] == "PASS"
    assert twice["quant_max_accuracy_drop_limit"] == "0.5"
    assert float(twice["quant_max_accuracy_drop_observed"]) < 0.5
    assert twice["quant_max_accuracy_drop_metric"] == "top-1"
    assert twice["quant_max_size_ratio_limit"] == "0.9"
    assert twice["quant_max_size_ratio_2_limit"] == "0.8"
    assert "quant_max_size_ratio_metric" not in twice
    assert fails["quant_max_size_ratio_outcome"] == "FAIL"
    assert fails["quant_max_size_ratio_variant"] == "dynamic"
    assert fails["quant_max_size_ratio_model"] == "Sequential"
    assert fails["quant_max_size_ratio_sentence"].startswith("size FAIL: dynamic needs")


def test_each_verdict_is_a_handful_of_properties_of_its_test(repo):
    assert_each_verdict_is_there(properties(repo, "--quant-junit"))


def test_nobody_gets_them_who_does_not_ask(repo):
    assert set(map(str, properties(repo).values())) == {"{}"}


def test_ini_asks_too(repo):
    repo.makeini("[pytest]\nquant_junit = true\n")
    assert properties(repo)["test_fails"]
