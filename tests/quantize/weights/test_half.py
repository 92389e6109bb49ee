"""float16 weights, multiplied in float32."""

import copy

import pytest
import torch

from pytest_quant.machine.conditions import engine_set
from pytest_quant.quantize.weights.half import ENGINES_WITH_KERNEL, Half, HalfPacked, half

with_kernel = pytest.mark.skipif(
    torch.backends.quantized.engine not in ENGINES_WITH_KERNEL, reason="FBGEMM is for x86"
)


def test_the_weight_is_rounded_once():
    weight = torch.randn(5, 7)
    assert torch.equal(Half(weight)(), weight.half().float())
    assert Half(weight).state_dict()["values"].nbytes == 2 * 35


@with_kernel
@pytest.mark.parametrize("rows", [0, 1, 40])
def test_products_are_those_of_the_rounded_weight(rows):
    weight, inputs, bias = torch.randn(33, 50), torch.randn(rows, 50), torch.randn(33)
    packed = HalfPacked(weight)
    assert torch.equal(packed(), weight.half().float())
    expected = inputs @ weight.half().float().t()
    torch.testing.assert_close(packed.linear(inputs, None), expected, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(packed.linear(inputs, bias), expected + bias, rtol=1e-5, atol=1e-4)


@with_kernel
def test_packed_and_plain_have_the_same_state():
    weight = torch.randn(5, 7)
    packed, plain = HalfPacked(torch.zeros(5, 7)), Half(weight)
    packed.load_state_dict(plain.state_dict())
    assert torch.equal(packed(), plain())
    assert torch.equal(copy.deepcopy(packed)(), plain())
    assert torch.equal(packed.state_dict()["values"], plain.state_dict()["values"])
    with pytest.raises(RuntimeError, match="values"):
        packed.load_state_dict({})


def test_an_engine_without_the_kernel_has_plain_weights():
    others = [
        engine
        for engine in torch.backends.quantized.supported_engines
        if engine not in (*ENGINES_WITH_KERNEL, "none")
    ]
    for engine in others:
        with engine_set(engine):
            assert isinstance(half(torch.randn(5, 7), is_linear=True), Half)
