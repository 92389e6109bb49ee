"""Engines: what this CPU can do decides the range of activations."""

import pytest
import torch
from builders import toy_variant

from pytest_quant.errors import QuantStageError
from pytest_quant.explain.notes import notes_on
from pytest_quant.machine import cpu, engines
from pytest_quant.variant.recipe import Recipe

CAPS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")


@pytest.fixture(autouse=True)
def uncapped(monkeypatch):
    """No cap on oneDNN's instruction set, whatever this run has."""
    for name in CAPS:
        monkeypatch.delenv(name, raising=False)


def as_cpu_with(monkeypatch, *flags):
    monkeypatch.setattr(cpu, "cpu_flags", lambda: frozenset(flags))


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


@pytest.mark.parametrize("name", CAPS)
@pytest.mark.parametrize(
    ("cap", "avx512_vnni", "avx_vnni", "both"),
    [
        ("SSE41", False, False, False),
        ("AVX", False, False, False),
        ("AVX2", False, False, False),
        ("avx2", False, False, False),
        ("AVX512_CORE", False, False, False),
        ("AVX2_VNNI", False, True, True),
        ("AVX2_VNNI_2", False, True, True),
        ("AVX512_CORE_VNNI", True, False, True),
        ("AVX512_CORE_BF16", True, False, True),
        ("AVX512_CORE_FP16", True, True, True),
        ("AVX512_CORE_AMX", True, True, True),
        ("AVX512_CORE_AMX_FP16", True, True, True),
        ("AVX10_1_512", True, True, True),
        ("DEFAULT", True, True, True),
        ("ALL", True, True, True),
        ("", True, True, True),
        ("AVX1024", True, True, True),  # which oneDNN does not know, and ignores
    ],
)
def test_a_cap_on_onednns_instruction_set_is_honoured(
    monkeypatch, name, cap, avx512_vnni, avx_vnni, both
):
    monkeypatch.setenv(name, cap)
    for flags, expected in (
        (("avx512_vnni",), avx512_vnni),
        (("avx_vnni",), avx_vnni),
        (("avx512_vnni", "avx_vnni"), both),
        (("avx512f",), False),
    ):
        as_cpu_with(monkeypatch, *flags)
        assert cpu.has_vnni() == expected
        assert engines.must_reduce_range("onednn") == (not expected)
        assert not engines.must_reduce_range("x86")


@pytest.mark.parametrize(
    ("newer", "older", "expected"),
    [("AVX512_CORE_VNNI", "AVX2", True), ("AVX2", "AVX512_CORE_VNNI", False), ("", "AVX2", False)],
)
def test_the_newer_name_of_the_cap_wins_unless_it_is_empty(monkeypatch, newer, older, expected):
    as_cpu_with(monkeypatch, "avx512_vnni")
    for name, value in zip(CAPS, (newer, older), strict=True):
        monkeypatch.setenv(name, value)
    assert cpu.has_vnni() == expected


def test_an_engine_that_pytorch_lacks_is_named_with_those_it_has(monkeypatch):
    monkeypatch.setattr(torch.backends.quantized.__class__, "supported_engines", ["none", "x86"])
    with pytest.raises(
        QuantStageError, match="engine 'qnnpack' is not in this PyTorch; it has x86"
    ):
        engines.engine_for("qnnpack")


def test_the_default_engine_is_pytorchs_own():
    assert engines.engine_for(None) == torch.backends.quantized.engine
