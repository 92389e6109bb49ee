"""Size and int8 share: exact limits on counted bytes and parameters."""

import pytest
import torch
from builders import toy_variant

from pytest_quant import Outcome, QuantStageError, Recipe, assert_max_size, assert_min_int8_share
from pytest_quant.judge.size_limit import judge_int8_share, judge_size

PASS, FAIL = Outcome.PASS, Outcome.FAIL


class Weighs:
    """A custom variant that says how many bytes it has; FP32 has 780."""

    def __init__(self, size_bytes):
        self.size_bytes = size_bytes

    def __call__(self, x):
        return x[:, :3] * 3


def of_bytes(count):
    return toy_variant(Recipe("custom", build=lambda module: Weighs(count)), name="mine")


@pytest.mark.parametrize(
    ("count", "ratio", "outcome"),
    [
        (234, 0.3, PASS),  # 0.3 x 780; in floats 0.3 is less
        (235, 0.3, FAIL),
        (546, 0.7, PASS),
        (780, 1, PASS),
        (781, 1, FAIL),
        (1, 0, FAIL),
        (1560, 2.0, PASS),
    ],
)
def test_a_ratio_is_exact(count, ratio, outcome):
    verdict = judge_size(of_bytes(count), ratio=ratio)
    assert verdict.outcome is outcome
    assert verdict.observed == count / 780


@pytest.mark.parametrize(
    ("count", "mb", "outcome"),
    [
        (300_000, 0.3, PASS),
        (300_001, 0.3, FAIL),
        (1_100_000, 1.1, PASS),
        (1_048_576, 1, FAIL),  # 1 MB is 10**6 bytes, not 2**20
    ],
)
def test_megabytes_are_exact(count, mb, outcome):
    verdict = judge_size(of_bytes(count), mb=mb)
    assert verdict.outcome is outcome
    assert verdict.observed == count / 10**6


def test_a_breach_is_one_sentence():
    variant = of_bytes(1_250_000)
    with pytest.raises(AssertionError) as caught:
        assert_max_size(variant, mb=1)
    assert str(caught.value) == (
        "size FAIL: mine needs 1.25 MB, 1602.564 of FP32's 0.00 MB, allowed 1 MB"
    )
    with pytest.raises(AssertionError, match=r"^size FAIL: mine needs .* allowed 0\.3 of FP32's$"):
        assert_max_size(variant, ratio=0.3)


def test_the_evidence_is_bytes():
    assert judge_size(of_bytes(195), ratio=0.3).evidence == {"bytes": 195, "fp32_bytes": 780}


def test_the_int8_share_is_exact():
    variant = toy_variant("dynamic", name="dynamic")
    assert judge_int8_share(variant, 176 / 195).outcome is PASS
    assert judge_int8_share(variant, 0.903).outcome is FAIL


def test_the_share_of_multiply_adds_is_asked_for_by_name():
    variant = toy_variant(Recipe("dynamic", keep_fp32="2"), name="dynamic")
    assert assert_min_int8_share(variant, 0.72, of="macs").observed == 128 / 176
    with pytest.raises(AssertionError) as caught:
        assert_min_int8_share(variant, 0.9)
    assert str(caught.value) == (
        "int8 share FAIL: 65.64 % of dynamic's parameters became int8, required 90 %; stayed FP32: 2"
    )
    with pytest.raises(ValueError, match="of is 'bits'; allowed: 'parameters', 'macs'"):
        assert_min_int8_share(variant, 0.5, of="bits")


def test_nine_tenths_are_required_when_no_share_is_given():
    assert assert_min_int8_share(toy_variant("dynamic")).limit == 0.9


def test_a_share_that_nobody_can_know_is_an_error():
    with pytest.raises(QuantStageError, match="int8 share of mine's parameters is unknown"):
        assert_min_int8_share(of_bytes(100), 0.5)


def test_an_fp32_model_without_tensors_has_no_size_to_compare_with():
    class Sums(torch.nn.Module):
        def forward(self, x):
            return x[:, :3]

    variant = toy_variant(Recipe("custom", build=lambda module: Weighs(8)), model=Sums())
    with pytest.raises(QuantStageError, match="FP32 has no tensors at all"):
        assert_max_size(variant, ratio=0.5)


@pytest.mark.parametrize(
    ("recipe", "form"),
    [
        (Recipe("cast", dtype="bfloat16"), "bfloat16"),
        (Recipe("weight_only", dtype="float16"), "float16"),
        (Recipe("weight_only", dtype="int4"), "int8"),
        (Recipe("dynamic"), "int8"),
        (Recipe("static", flow="pt2e"), "int8"),
    ],
)
def test_what_parameters_became_is_said(recipe, form):
    sentence = judge_int8_share(toy_variant(recipe), 0.5).sentence
    assert f"parameters became {form}, required" in sentence


def test_parameters_of_the_model_itself_have_a_name_among_those_that_stayed():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(3, 16))
            self.first = torch.nn.Linear(8, 16)

        def forward(self, x):
            return torch.nn.functional.linear(torch.relu(self.first(x)), self.weight)

    sentence = judge_int8_share(toy_variant("dynamic", model=Net().eval()), 0.99).sentence
    assert sentence.endswith("stayed FP32: the model's own parameters")
