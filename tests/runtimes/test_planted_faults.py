"""Faults of the way to a file: each is caught by a gate, or refused, and named."""

import re

import numpy as np
import onnx
import pytest
import torch
from exported import CLASSES, Cnn, fp32_onnx, images, made_int8, with_noise
from onnx import TensorProto, helper

from pytest_quant.errors import QuantStageError
from pytest_quant.explain.causes import cause
from pytest_quant.explain.effort import Effort
from pytest_quant.judge.accuracy_drop import judge_drop
from pytest_quant.judge.verdict import Outcome
from pytest_quant.machine.conditions import Conditions
from pytest_quant.measure.other_outputs import _what_else
from pytest_quant.store.open import open_store
from pytest_quant.subject.subject import Subject
from pytest_quant.variant.recipe import Recipe

SQUARE = (2, 4, 4)


class Square(Cnn):
    """Of [n, 2, 4, 4], so that height and width can be confused."""

    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(8 * 2 * 2, CLASSES)
        self.eval()


def batches(model, sizes, seed=1):
    x = torch.randn(320, *sizes, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return list(zip(x.split(80), model(x).argmax(1).split(80), strict=True))


def judged(path, model=None, sizes=(2, 6, 4), data=None):
    """The verdict of a gate of 5 points, and what it tells of the cause."""
    model = model or Cnn()
    subject = Subject(model, eval_data=data or batches(model, sizes))
    recipe = Recipe("artefact", path=path.name)
    variant = open_store(Conditions(threads=1, root=path.parent)).variant(subject, recipe, "file")
    verdict = judge_drop(variant, 0.05)
    return verdict, cause(verdict, variant, Effort(explain_seconds=30.0)) or verdict.sentence


def square_int8(folder, name, **how):
    inputs = [x.numpy() for x, _ in batches(Square(), SQUARE, seed=7)]
    return made_int8(
        folder, name, model=Square(), sizes=SQUARE, quantized={"inputs": inputs}, **how
    )


def test_a_sound_file_passes(tmp_path):
    verdict, _ = judged(made_int8(tmp_path))
    assert verdict.outcome is Outcome.PASS


def test_a_transposed_input(tmp_path):
    path = square_int8(tmp_path, "t.onnx", before=[("Transpose", {"perm": [0, 1, 3, 2]}, [])])
    verdict, said = judged(path, Square(), SQUARE)
    assert verdict.outcome is Outcome.FAIL
    assert "gives what FP32 gives for inputs that are transposed (height and width)" in said


def test_another_normalization(tmp_path):
    before = [("Mul", {}, [np.float32(2)]), ("Add", {}, [np.float32(-1)])]
    verdict, said = judged(made_int8(tmp_path, before=before))
    assert verdict.outcome is Outcome.FAIL
    assert "for inputs that are normalized by mean 0.5 and deviation 0.5" in said


def test_swapped_classes(tmp_path):
    after = [("Gather", {"axis": 1}, [np.array([1, 0, 2, 3])])]
    verdict, said = judged(made_int8(tmp_path, after=after))
    assert verdict.outcome is Outcome.FAIL
    assert "in another order: class 0 is its output 1" in said


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ([("Softmax", {"axis": 1}, [])], "gives the softmax of what the model gives"),
        ([("Sigmoid", {}, [])], "gives the sigmoid of what the model gives"),
        ([("Hardmax", {"axis": 1}, [])], "gives 1 for the class and 0 for all others"),
        ([("Mul", {}, [np.float32(0.1)])], "times what the model gives"),
    ],
)
def test_what_keeps_the_classes_and_changes_the_outputs(tmp_path, after, said):
    verdict, _ = judged(made_int8(tmp_path, after=after))
    assert verdict.outcome is Outcome.FAIL
    assert said in verdict.sentence


class Probable(Cnn):
    """Whose softmax belongs to it."""

    def forward(self, image):
        return super().forward(image).softmax(1)


def test_a_missing_softmax(tmp_path):
    verdict, _ = judged(made_int8(tmp_path), Probable())
    assert verdict.outcome is Outcome.FAIL
    assert "gives what the model gives without its softmax" in verdict.sentence


class Differences(Cnn):
    """Whose first channels are differences of inputs that are nearly equal, so that they have weights a
    hundredfold those of the others, and outputs like theirs."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(4)
        with torch.no_grad():
            weight = torch.randn_like(self.near.weight) / 40
            weight[:4] = 0
            weight[:4, 0, 1, 1], weight[:4, 1, 1, 1] = 4.0, -4.0
            self.near.weight.copy_(weight)
            self.far.weight.copy_(torch.randn_like(self.far.weight) / 8)
            self.far.weight[:, 4:] *= 8


def nearly_equal(model, samples=320, seed=1):
    generator = torch.Generator().manual_seed(seed)
    one, other = torch.randn(2, samples, 1, 6, 4, generator=generator)
    x = torch.cat([one, one + 0.2 * other], 1)
    with torch.no_grad():
        return list(zip(x.split(80), model(x).argmax(1).split(80), strict=True))


@pytest.mark.parametrize(("per_channel", "outcome"), [(True, "PASS"), (False, "FAIL")])
def test_scales_per_tensor_where_channels_differ(tmp_path, per_channel, outcome):
    model = Differences()
    inputs = [x.numpy() for x, _ in nearly_equal(model, seed=7)]
    quantized = {"inputs": inputs, "per_channel": per_channel}
    path = made_int8(tmp_path, model=model, quantized=quantized)
    verdict, said = judged(path, model, data=nearly_equal(model))
    assert verdict.outcome.value == outcome
    assert ("with scales per tensor or per channel" in said) == (outcome == "FAIL")


def test_float_kernels_alone(tmp_path):
    verdict, _ = judged(fp32_onnx(tmp_path / "float.onnx"))
    assert verdict.outcome is Outcome.FAIL
    assert "was not quantized" in verdict.sentence


def test_an_older_checkpoint(tmp_path):
    verdict, said = judged(made_int8(tmp_path, model=with_noise(0.3)))
    assert verdict.outcome is Outcome.FAIL
    assert "from which checkpoint" in said


def test_a_calibration_of_zeros(tmp_path):
    zeros = [np.zeros_like(x.numpy()) for x, _ in images(7)]
    verdict, said = judged(made_int8(tmp_path, quantized={"inputs": zeros}))
    assert verdict.outcome is Outcome.FAIL
    assert "hardly depend on its inputs" in said
    assert "calibrate it on real inputs" in said


def test_a_truncated_file(tmp_path):
    path = made_int8(tmp_path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(QuantStageError, match="it is no ONNX model"):
        judged(path)


@pytest.mark.parametrize("slope", [1.0, 6.0])
def test_values_that_are_all_moved(tmp_path, slope):
    after = [("Mul", {}, [np.float32(slope)]), ("Add", {}, [np.float32(3)])]
    verdict, _ = judged(made_int8(tmp_path, after=after))
    assert verdict.outcome is Outcome.FAIL
    assert re.search(r"times what the model gives, and (3|2\.9)", verdict.sentence)


class Words(torch.nn.Module):
    """A class for each of six words, and what is known of the whole text."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.head = torch.nn.Linear(4, CLASSES)
        self.eval()

    def forward(self, text):
        return self.head(text), 30 * text.mean(1)


def words_int8(path, *kinds):
    """The model of words, with operators behind its first output."""
    model, scale = Words(), np.float32(1 / 64)
    weight = np.round(model.head.weight.detach().numpy().T / scale).astype(np.int8)
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["text"], ["q", "s", "z"]),
        helper.make_node("MatMulInteger", ["q", "weight", "z"], ["i"]),
        helper.make_node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["s", "scale"], ["by"]),
        helper.make_node("Mul", ["f", "by"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["v0"]),
        *(helper.make_node(k, [f"v{i}"], [f"v{i + 1}"], axis=-1) for i, k in enumerate(kinds)),
        helper.make_node("Identity", [f"v{len(kinds)}"], ["words"]),
        helper.make_node("ReduceMean", ["text"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("Mul", ["mean", "thirty"], ["whole"]),
    ]
    constants = {
        "weight": weight, "scale": scale, "bias": model.head.bias.detach().numpy(),
        "thirty": np.float32(30),
    }  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("text", TensorProto.FLOAT, ["n", 6, 4])],
        [
            helper.make_tensor_value_info("words", TensorProto.FLOAT, ["n", 6, CLASSES]),
            helper.make_tensor_value_info("whole", TensorProto.FLOAT, ["n", 4]),
        ],
        [onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


@pytest.mark.parametrize("kinds", [(), ("Softmax",), ("LogSoftmax",)])
def test_classes_of_each_word_beside_another_output(tmp_path, kinds):
    model, x = Words(), torch.randn(160, 6, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        labels = model(x)[0].argmax(2)
    subject = Subject(
        model,
        eval_data=[(x[:80], labels[:80]), (x[80:], labels[80:])],
        metric=lambda outputs, targets: (outputs[0].argmax(2) == targets).float().mean(1),
    )
    path = words_int8(tmp_path / "words.onnx", *kinds)
    recipe = Recipe("artefact", path=path.name)
    verdict = judge_drop(
        open_store(Conditions(threads=1, root=tmp_path)).variant(subject, recipe, "file"), 0.1
    )
    assert verdict.outcome is (Outcome.FAIL if kinds else Outcome.PASS)
    said = "softmax of what the model gives, as number 1 of its 2 outputs"
    assert (said in verdict.sentence) is bool(kinds)


def test_the_softmax_of_anything_small_is_no_sign_of_a_missing_one():
    torch.manual_seed(0)
    probabilities = torch.full((64, 10), 0.1) + 0.005 * torch.randn(64, 10)
    inexact = probabilities + 0.04 * torch.randn(64, 10)
    assert _what_else([probabilities], [inexact]) is None
