"""FP32 is what every variant is compared with, whatever tests, builds and training loops do."""

import pytest

CONFTEST = """
import pytest
import torch
from pytest_quant import Recipe
from toys import Own, batches


class Net(Own):
    def __init__(self):
        super().__init__()
        self.drop = torch.nn.Dropout(0.6)
        self.eval()

    def forward(self, x):
        return super().forward(self.drop(x))


def spoiled(module):
    with torch.no_grad():
        module.last.bias[2] -= 100
    return torch.ao.quantization.quantize_dynamic(module, {torch.nn.Linear}, torch.qint8)


def patching(module):
    quantized = spoiled(module)
    own = quantized.first, quantized.last
    Net.forward = lambda self, x: own[1](torch.relu(own[0](x)))
    return quantized


def pytest_quant_recipes(config):
    return {
        "spoiled": Recipe("custom", build=spoiled),
        "patching": Recipe("custom", build=patching),
    }


@pytest.fixture(scope="session")
def quant_model():
    return Net()


@pytest.fixture(scope="session")
def quant_eval_data():
    return batches(seed=1)


@pytest.fixture(scope="session")
def quant_train_data():
    return batches(seed=2)
"""
TESTS = """
import pytest
import torch
from pytest_quant import assert_gates, assert_max_accuracy_drop


def test_that_leaves_things_behind(quant_fp32):
    quant_fp32.model.train()
    torch.set_default_dtype(torch.float64)
    torch.backends.mkldnn.enabled = False


@pytest.mark.parametrize("quant_variant", ["spoiled"], indirect=True)
def test_spoiled(quant_variant):
    assert_max_accuracy_drop(quant_variant, 0.1)


def test_dynamic(quant_dynamic):
    assert_gates(quant_dynamic, max_accuracy_drop=0.02)


def test_own_settings_are_left_alone(quant_fp32):
    assert quant_fp32.model.training
    assert torch.get_default_dtype() == torch.float64
    assert not torch.backends.mkldnn.enabled
    torch.set_default_dtype(torch.float32)
    torch.backends.mkldnn.enabled = True


@pytest.mark.parametrize("quant_variant", ["patching"], indirect=True)
def test_patching(quant_variant):
    assert_max_accuracy_drop(quant_variant, 1)


def test_static_afterwards(quant_static):
    assert_max_accuracy_drop(quant_static, 1)
"""


@pytest.fixture
def settings_as_before():
    import torch

    before = torch.get_default_dtype(), torch.backends.mkldnn.enabled
    yield
    torch.set_default_dtype(before[0])
    torch.backends.mkldnn.enabled = before[1]


@pytest.mark.usefixtures("settings_as_before")
def test_what_tests_and_builds_leave_behind(model_repo):
    model_repo.pytester.makeconftest(CONFTEST)
    model_repo.pytester.makepyfile(test_good=TESTS)  # the good model's tests would be beside it
    result = model_repo.run("-rA")
    result.assert_outcomes(passed=3, failed=1, errors=2)
    result.stdout.fnmatch_lines(
        [
            "E *FP32 was changed during the run: forward of Net was replaced; "
            "since it was last intact, it was used by custom(build=conftest.patching). *",
            "E *evaluate ERROR, as reported for *::test_patching*",
            "E *accuracy FAIL: spoiled drops * pt (100.00 % -> *",
            "PASSED *::test_dynamic",
        ]
    )
