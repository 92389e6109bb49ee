"""FP32 in a file's own runtime: what of a speed-up is the runtime's, and what int8's."""

import pytest
import torch
from builders import ONE_THREAD
from exported import Cnn, as_openvino, images, made_int8

from pytest_quant.errors import QuantStageError
from pytest_quant.judge.merit import tell_merit_of_runtime
from pytest_quant.judge.speedup import judge_speedup
from pytest_quant.machine.conditions import Conditions
from pytest_quant.measure.latency import make_pair
from pytest_quant.runtimes.fp32_file import fp32_file
from pytest_quant.store.open import open_store
from pytest_quant.subject.subject import Subject
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.sqnr import sqnr


@pytest.fixture(scope="module")
def int8(tmp_path_factory):
    return made_int8(tmp_path_factory.mktemp("files"))


def variant_of(path):
    conditions = Conditions(threads=1, root=path.parent)
    subject = Subject(Cnn(), eval_data=images(1))
    return open_store(conditions).variant(subject, Recipe("artefact", path=path.name), "file")


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_it_is_fp32_in_the_runtime_of_the_file(int8, suffix):
    path = int8 if suffix == ".onnx" else as_openvino(int8, int8.with_suffix(".xml"))
    variant = variant_of(path)
    made = fp32_file(variant)
    assert made is fp32_file(variant)
    assert made.path.suffix == suffix
    assert made.runtime == variant.model.runtime
    x = images(1)[0][0]
    with torch.inference_mode():
        assert sqnr([variant.fp32.forward(x)], [made(x)]) > 100
    assert all(kernel.bits == 32 for kernel in made.kernels)


def test_a_pair_against_it_is_named_so_and_can_be_remade(int8):
    variant = variant_of(int8)
    pair = make_pair(variant, "runtime", variant.conditions)
    assert pair.baseline == f"FP32 in {variant.model.runtime}"
    pair.add_rounds(2, 60.0)
    assert len(pair.remade().seconds_a) == 0


class Planted:
    """A pair whose rounds are known."""

    def __init__(self, ratio):
        self.ratio = ratio

    def add_rounds(self, count, seconds):
        assert count >= 13


@pytest.mark.parametrize(("ratio", "told"), [(0.75, True), (1.6, False)])
def test_a_limit_that_the_runtime_alone_holds_is_noted(int8, monkeypatch, ratio, told):
    variant = variant_of(int8)
    monkeypatch.setattr(variant, "pair", lambda baseline: Planted(ratio))
    tell_merit_of_runtime(variant, 1.5)
    notes = [note for note in variant.notes if "the rest is the runtime's, not int8's" in note]
    assert bool(notes) == told
    assert all("holds 1.5x against FP32 in PyTorch, and is 0.75x" in note for note in notes)


def test_what_runs_in_pytorch_has_no_other_runtime():
    subject = Subject(Cnn(), eval_data=images(1), calibration_data=images(2))
    variant = open_store(ONE_THREAD).variant(subject, Recipe("static"), "static")
    with pytest.raises(QuantStageError, match="static runs in PyTorch; take 'given' or 'best'"):
        judge_speedup(variant, 1.0, baseline="runtime")
    tell_merit_of_runtime(variant, 1.5)
    assert not any("runtime" in note for note in variant.notes)


def test_an_fp32_that_cannot_be_exported_says_what_to_do_instead(int8, monkeypatch):
    def export(*given):
        raise ValueError("no such operator")

    monkeypatch.setattr("pytest_quant.runtimes.fp32_file.onnx_file", export)
    variant = variant_of(int8)
    with pytest.raises(QuantStageError, match=r"no such operator.*quantized=False"):
        fp32_file(variant)
    tell_merit_of_runtime(variant, 1.5)
    assert any("how fast FP32 is in ONNX Runtime" in note for note in variant.notes)
