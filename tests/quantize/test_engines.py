"""Engines: what this CPU can do decides the range of activations."""

import pytest
import torch
from builders import toy_variant

from pytest_quant.errors import QuantStageError
from pytest_quant.explain.notes import notes_on
from pytest_quant.quantize import engines
from pytest_quant.recipe import Recipe


def as_cpu_with(monkeypatch, *flags):
    monkeypatch.setattr(engines, "cpu_flags", lambda: frozenset(flags))


def highest_activation(variant):
    """The highest quantized value that the input's observer allowed, from its scale."""
    first = variant.fp32.subject.calibration_data
    inputs = torch.cat([inputs for inputs, _ in first])
    scale = variant.model.state_dict()["0_input_scale_0"]
    return float((inputs.max() - inputs.min()) / scale)


def test_without_vnni_onednn_keeps_activations_to_7_bits(monkeypatch):
    as_cpu_with(monkeypatch, "avx512f")
    variant = toy_variant(Recipe("static", engine="onednn", observer="minmax"))
    assert highest_activation(variant) == pytest.approx(127, rel=0.01)
    assert any("7 bits" in note for note in notes_on(variant))


def test_with_vnni_onednn_uses_8_bits(monkeypatch):
    as_cpu_with(monkeypatch, "avx512f", "avx512_vnni")
    variant = toy_variant(Recipe("static", engine="onednn", observer="minmax"))
    assert highest_activation(variant) == pytest.approx(255, rel=0.01)
    assert not any("7 bits" in note for note in notes_on(variant))


@pytest.mark.parametrize("flags", [(), ("avx512_vnni",)])
def test_x86_keeps_to_7_bits_on_every_cpu(monkeypatch, flags):
    as_cpu_with(monkeypatch, *flags)
    variant = toy_variant(Recipe("static", engine="x86", observer="minmax"))
    assert highest_activation(variant) == pytest.approx(127, rel=0.01)


def test_an_engine_that_pytorch_lacks_is_named_with_those_it_has(monkeypatch):
    monkeypatch.setattr(torch.backends.quantized.__class__, "supported_engines", ["none", "x86"])
    with pytest.raises(
        QuantStageError, match="engine 'qnnpack' is not in this PyTorch; it has x86"
    ):
        engines.engine_for("qnnpack")


def test_the_default_engine_is_pytorchs_own():
    assert engines.engine_for(None) == torch.backends.quantized.engine
