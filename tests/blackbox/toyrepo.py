"""A tiny model repo, as text: Linear layers on numbers that carry their class."""

CONFTEST = """
import pytest
import torch


def batches(seed, samples=64):
    x = torch.randn(samples, 8, generator=torch.Generator().manual_seed(seed))
    return list(zip(x.split(16), x[:, :3].argmax(1).split(16)))


@pytest.fixture(scope="session")
def quant_model():
    first = torch.nn.Linear(8, 16)
    last = torch.nn.Linear(16, 3)
    with torch.no_grad():  # the class is the highest of the first three numbers
        first.weight.copy_(torch.cat([torch.eye(8), -torch.eye(8)]))
        first.bias.zero_()
        last.weight.copy_(torch.cat([torch.eye(8)[:3], -torch.eye(8)[:3]], 1))
        last.bias.zero_()
    return torch.nn.Sequential(first, torch.nn.ReLU(), last).eval()


@pytest.fixture(scope="session")
def quant_eval_data():
    return batches(1)


@pytest.fixture(scope="session")
def quant_train_data():
    return batches(2)
"""
# Two gates of one variant, and a test of none.
THREE_TESTS = """
import pytest
from pytest_quant import assert_gates, assert_max_accuracy_drop, assert_max_size


def test_size(quant_dynamic):
    assert_max_size(quant_dynamic, ratio=0.9)


def test_accuracy(quant_dynamic):
    assert_max_accuracy_drop(quant_dynamic, 0.5)


def test_of_no_variant():
    pass
"""

GATES = """
from pytest_quant import assert_gates, assert_max_accuracy_drop, assert_max_size


def test_static(quant_static):
    assert_max_accuracy_drop(quant_static, 0.5)


def test_qat(quant_qat):
    assert_gates(quant_qat, max_accuracy_drop=0.5, max_size_ratio=0.9)


def test_dynamic(quant_dynamic):
    assert_max_size(quant_dynamic, ratio=0.9)


def test_of_no_variant():
    pass
"""

# As plugins for reruns do: the first try announces itself, and what has failed is set up anew.
RERUN = """

import _pytest.runner


def pytest_runtest_protocol(item):
    for last in (False, True):
        reports = _pytest.runner.runtestprotocol(item, log=False, nextitem=None)
        for report in reports:
            if report.failed and not last:
                report.outcome = "rerun"
            item.ihook.pytest_runtest_logreport(report=report)
        if not any(report.outcome == "rerun" for report in reports):
            return True
        for definitions in item._fixtureinfo.name2fixturedefs.values():
            for definition in definitions:
                definition.cached_result = None
        item._initrequest()


def pytest_report_teststatus(report):
    if report.outcome == "rerun":
        return "rerun", "R", "RERUN"
"""
