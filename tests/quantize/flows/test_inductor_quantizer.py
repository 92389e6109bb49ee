"""Inductor quantizer: torchao's for this CPU; Arm's is asked for here, and its kernels are not run."""

import pytest
import torch
from torch import nn

from pytest_quant.machine import cpu, engines
from pytest_quant.quantize.flows import inductor_quantizer, pt2e
from pytest_quant.quantize.flows.example import Example
from pytest_quant.variant.recipe import Recipe


@pytest.fixture
def arm(monkeypatch):
    """A 64-bit Arm, whose flags say nothing of VNNI."""
    monkeypatch.setattr(cpu.platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(cpu, "cpu_flags", lambda: frozenset({"asimddp"}))


def quantizer(kind="static"):
    return type(inductor_quantizer.quantizer_of(Recipe(kind, flow="pt2e"), ())).__name__


@pytest.mark.parametrize("kind", ["static", "qat", "dynamic"])
def test_each_cpu_has_its_own(monkeypatch, kind):
    monkeypatch.setattr(cpu.platform, "machine", lambda: "x86_64")
    assert quantizer(kind) == "X86InductorQuantizer"
    monkeypatch.setattr(cpu.platform, "machine", lambda: "arm64")
    assert quantizer(kind) == "ArmInductorQuantizer"


def test_arm_is_not_asked_for_vnni(arm):
    assert not engines.must_reduce_range("onednn")
    config = inductor_quantizer.config_of(Recipe("static", flow="pt2e"))
    spec = config.input_activation
    assert (spec.dtype, spec.quant_min, spec.quant_max) == (torch.int8, -128, 127)


def test_arm_takes_an_observer_of_the_recipe(arm):
    config = inductor_quantizer.config_of(Recipe("static", flow="pt2e", observer="minmax"))
    made = config.input_activation.observer_or_fake_quant_ctr()
    assert type(made).__name__ == "MinMaxObserver"


def test_a_model_is_prepared_for_arm_and_rounded_as_its_kernels_would(arm):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4)).eval()
    x = torch.randn(16, 3, 8, 8)
    expected = model(x).detach()
    prepared = pt2e.prepare(
        model, Recipe("static", flow="pt2e", engine="onednn"), "onednn", Example((x,), {}, expected)
    )
    with torch.no_grad():
        prepared(x)
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

        rounded = convert_pt2e(prepared.graph)(x)
    noise = (rounded - expected).square().sum()
    assert 0 < noise < 0.01 * expected.square().sum()
