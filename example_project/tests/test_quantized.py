"""May the quantized models ship? Run with `pytest --quant`; a plain `pytest` skips these tests."""

import pytest

from pytest_quant import (
    Recipe,
    assert_gates,
    assert_max_accuracy_drop,
    assert_max_size,
    assert_min_speedup,
)


def test_fp32_is_worth_quantizing(quant_fp32):
    """The other gates compare with FP32: beside a badly trained one, anything looks good.

    CIFAR-10 gets the few epochs that are enough for the digits, so its floor is far lower.
    """
    from data import dataset_name

    floor = {"digits": 0.95, "cifar10": 0.60}[dataset_name()]
    assert_max_accuracy_drop(quant_fp32, 0, min_baseline=floor)


def test_dynamic_may_ship(quant_dynamic):
    assert_max_accuracy_drop(quant_dynamic, 0.01)


# Dynamic quantization takes linear layers only: 92 % of the CNN, 0.05 % of ResNet-18.
@pytest.mark.parametrize("quant_model", ["cnn"], indirect=True)
def test_dynamic_makes_the_cnn_small(quant_dynamic):
    assert_max_size(quant_dynamic, ratio=0.35)


def test_static_may_ship(quant_static):
    assert_max_accuracy_drop(quant_static, 0.01)
    assert_min_speedup(quant_static, 1.5)
    assert_max_size(quant_static, ratio=0.30)


def test_qat_may_ship(quant_qat):
    assert_gates(quant_qat, max_accuracy_drop=0.01, min_speedup=1.5, max_size_ratio=0.30)


# What ships is often a file: the same recipe, as ONNX, judged as ONNX Runtime runs it.
@pytest.mark.parametrize(
    "quant_variant", [("onnx", Recipe("static", flow="onnx"))], indirect=True, ids=["onnx"]
)
def test_the_onnx_file_may_ship(quant_variant):
    assert_gates(quant_variant, max_accuracy_drop=0.01, min_speedup=1.5, max_size_ratio=0.30)
