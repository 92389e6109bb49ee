"""A variant that was not quantized passes no gate, whatever its numbers look like."""

import pytest
from toyrepo import CONFTEST

ALL_GATES = """
import pytest
from pytest_quant import (
    Recipe, assert_gates, assert_max_accuracy_drop, assert_max_flips, assert_max_size,
    assert_min_int8_share, assert_min_speedup,
)

GATES = [
    lambda v: assert_max_accuracy_drop(v, 0.5),
    lambda v: assert_max_accuracy_drop(v, 0.5, scope="population"),
    lambda v: assert_max_flips(v, 1.0),
    lambda v: assert_max_size(v, ratio=2),
    lambda v: assert_max_size(v, mb=100),
    lambda v: assert_min_int8_share(v, 0),
    lambda v: assert_min_speedup(v, 0.001),
    lambda v: assert_gates(v, max_accuracy_drop=0.5, max_size_ratio=2),
]
"""
TWINS = """
def itself(module):
    return module

class Wrapped:
    size_bytes = 1

    def __init__(self, module):
        self.module = module

    def __call__(self, x):
        return self.module(x)

@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize(
    "quant_variant", [Recipe("custom", build=itself), Recipe("custom", build=Wrapped)], indirect=True
)
def test_gate(quant_variant, gate):
    gate(quant_variant)
"""
NOTHING_INT8 = """
@pytest.fixture(scope="session")
def quant_model():
    import torch

    class Shift(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.shift = torch.nn.Parameter(torch.zeros(8))

        def forward(self, x):
            return (x + self.shift)[:, :3]

    return Shift().eval()

@pytest.mark.parametrize("gate", GATES)
def test_gate(quant_static, gate):
    gate(quant_static)

def test_fp32_is_exempt(quant_fp32):
    assert_max_accuracy_drop(quant_fp32, 0, min_baseline=0.9)
"""


@pytest.fixture
def repo(pytester):
    pytester.makeconftest(CONFTEST)
    return pytester


def test_a_twin_of_fp32_fails_every_gate(repo):
    repo.makepyfile(ALL_GATES + TWINS)
    result = repo.runpytest("--quant")
    result.assert_outcomes(failed=16)
    result.stdout.fnmatch_lines(
        [
            "*FAIL: * was not quantized: none of its parameters is stored in fewer bits *",
            "*FAIL: * was not quantized, as far as can be seen: it gives FP32's outputs bit for bit*",
        ]
    )


def test_a_variant_without_int8_parameters_fails_every_gate(repo):
    repo.makepyfile(ALL_GATES + NOTHING_INT8)
    result = repo.runpytest("--quant")
    result.assert_outcomes(failed=8, passed=1)
    result.stdout.fnmatch_lines(["*FAIL: static was not quantized: none of its parameters*"])


def test_what_is_not_quantized_or_not_known_to_be_is_told_in_row_and_answer(repo):
    repo.makepyfile(
        """
        import pytest
        from pytest_quant import Recipe, assert_max_accuracy_drop

        def pruned(module):
            module[0].weight.data[module[0].weight.abs() < 0.01] = 0
            module[0].weight.data *= 1.01
            return module

        RECIPES = [
            ("pruned", Recipe("custom", build=pruned, quantized=False)),
            ("elsewhere", Recipe("custom", build=lambda m: lambda x: m(x).round(decimals=1))),
        ]

        @pytest.mark.parametrize("quant_variant", RECIPES, indirect=True)
        def test_it(quant_variant):
            assert_max_accuracy_drop(quant_variant, 0.5)
        """
    )
    result = repo.runpytest("--quant")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            "Sequential pruned: not quantized, as its recipe says (quantized=False)",
            "Sequential elsewhere: not known to be quantized: what its build returned (function) *",
            "may ship: yes: * (pruned, which is not quantized, elsewhere, which is not known to be *",
        ]
    )
