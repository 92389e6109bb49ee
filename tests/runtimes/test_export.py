"""Export: production loads the file with its runtime alone, and gets the bits that were judged."""

import hashlib
import json
import subprocess
import sys

import onnx
import pytest
import torch
from builders import ONE_THREAD
from exported import Cnn, as_openvino, fp32_onnx, images, made_int8, with_noise
from onnx import TensorProto, helper
from tflite import linear_file
from torch import nn

from pytest_quant import (
    Gate,
    Recipe,
    Subject,
    Verdict,
    assert_gates,
    assert_max_accuracy_drop,
    assert_max_size,
    open_store,
)
from pytest_quant.errors import QuantStageError
from pytest_quant.judge import recorder
from pytest_quant.judge.recorder import Running
from pytest_quant.judge.verdict import Outcome
from pytest_quant.machine.conditions import Conditions
from pytest_quant.runtimes import onnx_runtime


def variant_of(recipe, root):
    subject = Subject(Cnn(), eval_data=images(1), calibration_data=images(2))
    return open_store(Conditions(threads=1, root=root)).variant(subject, recipe, "ours")


def page_of(path):
    return json.loads(path.with_name(f"{path.name}.json").read_text())


def test_flow_onnx_is_exported_with_all_that_was_judged(tmp_path):
    variant = variant_of(Recipe("static", flow="onnx"), tmp_path)
    with recorder.running(Running("test")):
        assert_max_accuracy_drop(variant, 0.1)
        assert_gates(variant, max_flips=0.9)
    path = variant.export(tmp_path / "dist" / "cnn.onnx")
    page = page_of(path)
    assert page["files"] == {"cnn.onnx": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert page["recipe"]["flow"] == "onnx"
    assert page["inputs"] == [{"name": "image", "shape": [None, 2, 6, 4], "dtype": "float32"}]
    assert page["metrics"]["top-1"] == variant.evaluation.values["top-1"]
    assert page["eval_samples"] == 96
    verdict, other = page["verdicts"]
    assert verdict["outcome"] == "PASS"
    assert (other["gate"], other["outcome"]) == ("max_flips", "PASS")
    assert verdict["limit"] == 0.1
    again = variant_of(Recipe("artefact", path="dist/cnn.onnx"), tmp_path)
    x = images(1)[0][0]
    assert torch.equal(again.forward(x), variant.forward(x))


def seen(variant, limit):
    return Verdict.on(variant, "seen", "seen", Outcome.PASS, "it is", limit=limit, observed=1.0)


def test_limits_judged_at_once_are_exported_too(tmp_path):
    variant = variant_of(Recipe("static", flow="onnx"), tmp_path)
    with recorder.running(Running("test", gates={"seen": Gate("seen", 1.0, seen)})):
        assert_gates(variant, max_accuracy_drop=0.1, max_size_mb=1)
    page = page_of(variant.export(tmp_path / "cnn.onnx"))
    gates = ["max_accuracy_drop", "max_size_mb", "seen"]
    assert [verdict["gate"] for verdict in page["verdicts"]] == gates


def test_verdicts_of_a_script_are_exported_too(tmp_path):
    variant = variant_of(Recipe("static", flow="onnx"), tmp_path)
    assert_max_size(variant, mb=1)
    with pytest.raises(AssertionError):
        assert_max_size(variant, mb=0.001)
    page = page_of(variant.export(tmp_path / "cnn.onnx"))
    assert [verdict["outcome"] for verdict in page["verdicts"]] == ["PASS", "FAIL"]


def test_production_needs_the_runtime_and_numpy_alone(tmp_path):
    variant = variant_of(Recipe("static", flow="onnx"), tmp_path)
    path = variant.export(tmp_path / "cnn.onnx")
    x = images(1)[0][0]
    script = f"""
import sys
import numpy as np
path, threads, inputs = {str(path)!r}, 1, [np.array({x[:4].tolist()}, dtype=np.float32)]
{onnx_runtime.PRODUCTION}
assert "torch" not in sys.modules and "pytest_quant" not in sys.modules
print(outputs[0].argmax(1).tolist())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == variant.forward(x[:4]).argmax(1).tolist()


def test_files_beside_it_come_along(tmp_path):
    built = tmp_path / "build"
    built.mkdir()
    as_openvino(made_int8(built), built / "int8.xml")
    path = variant_of(Recipe("artefact", path="build/int8.xml"), tmp_path).export(
        tmp_path / "cnn.xml"
    )
    assert sorted(page_of(path)["files"]) == ["cnn.bin", "cnn.xml"]
    onnx.save(
        onnx.load(fp32_onnx(built / "whole.onnx")),
        built / "parts.onnx",
        save_as_external_data=True,
        location="weights.data",
        size_threshold=0,
    )
    parts = variant_of(Recipe("artefact", path="build/parts.onnx", quantized=False), tmp_path)
    path = parts.export(tmp_path / "other" / "cnn.onnx")
    assert sorted(page_of(path)["files"]) == ["cnn.onnx", "weights.data"]


def test_litert(tmp_path):
    torch.manual_seed(0)
    model = nn.Linear(8, 3).eval()
    weights = (model.weight.detach().numpy(), model.bias.detach().numpy())
    linear_file(tmp_path / "int8.tflite", *weights, scales=(4 / 127, 3 / 127), batch=-1)
    x = torch.randn(20, 8)
    subject = Subject(model, eval_data=[(x, torch.arange(20) % 3)])
    store = open_store(Conditions(threads=1, root=tmp_path))
    variant = store.variant(subject, Recipe("artefact", path="int8.tflite"), "ours")
    page = page_of(variant.export(tmp_path / "ship.tflite"))
    assert page["inputs"][0]["scale"] == pytest.approx(4 / 127)


def test_other_bits_in_production_are_an_error_and_nothing_is_kept(tmp_path, monkeypatch):
    variant = variant_of(Recipe("static", flow="onnx"), tmp_path)
    more = onnx_runtime.PRODUCTION + "outputs = [each + 1e-6 for each in outputs]\n"
    monkeypatch.setattr(onnx_runtime, "PRODUCTION", more)
    with pytest.raises(
        QuantStageError, match=r"gives other bits there than here\. Nothing is kept"
    ):
        variant.export(tmp_path / "dist" / "cnn.onnx")
    assert list((tmp_path / "dist").iterdir()) == []


def test_what_is_no_file_says_what_to_build(tmp_path):
    subject = Subject(Cnn(), eval_data=images(1), calibration_data=images(2))
    store = open_store(ONE_THREAD)
    with pytest.raises(QuantStageError, match=r"Recipe\('static', flow='onnx'\) builds one"):
        store.variant(subject, Recipe("static"), "static").export(tmp_path / "a.onnx")
    with pytest.raises(QuantStageError, match="FP32 is a PyTorch module"):
        store.fp32(subject).export(tmp_path / "a.onnx")
    made = variant_of(Recipe("static", flow="onnx"), tmp_path)
    with pytest.raises(QuantStageError, match=r"give it the suffix \.onnx"):
        made.export(tmp_path / "a.xml")


def test_a_file_may_be_exported_onto_itself_and_stays_when_that_fails(tmp_path, monkeypatch):
    path = made_int8(tmp_path)
    before = path.read_bytes()
    variant = variant_of(Recipe("artefact", path=path.name), tmp_path)
    assert variant.export(path).read_bytes() == before
    assert page_of(path)["files"] == {path.name: hashlib.sha256(before).hexdigest()}
    monkeypatch.setattr(onnx_runtime, "PRODUCTION", "raise SystemExit(3)")
    with pytest.raises(QuantStageError, match="ended with 3"):
        variant.export(path)
    assert path.read_bytes() == before


def embedding(path, rare=0.0):
    """Words to four classes; of the last word the row is `rare`."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(20, 4)).eval()
    with torch.no_grad():
        model[0].weight[19] = rare
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "input"], ["y"])],
        "g",
        [helper.make_tensor_value_info("input", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [onnx.numpy_helper.from_array(model[0].weight.detach().numpy(), "table")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, path)
    return model


def test_a_file_that_is_another_one_by_now_is_not_exported(tmp_path):
    model = embedding(tmp_path / "words.onnx")
    words = torch.arange(18)
    data = [(words[:9], words[:9] % 4), (words[9:], words[9:] % 4)]
    store = open_store(Conditions(threads=1, root=tmp_path))
    recipe = Recipe("artefact", path="words.onnx", quantized=False)
    variant = store.variant(Subject(model, eval_data=data), recipe, "ours")
    assert variant.evaluation
    embedding(tmp_path / "words.onnx", rare=5.0)  # gives the same bits for the first batch
    with pytest.raises(QuantStageError, match="is another file than when it was first read"):
        variant.export(tmp_path / "dist" / "words.onnx")
    assert list((tmp_path / "dist").iterdir()) == []


def in_parts(path, location, model=None):
    """A file with its weights in another one."""
    path.parent.mkdir(exist_ok=True)
    (path.parent / location).parent.mkdir(exist_ok=True)
    made = onnx.load(fp32_onnx(path.with_name("whole.onnx"), model))
    how = {"save_as_external_data": True, "location": location, "size_threshold": 0}
    onnx.save(made, path, **how)
    return Recipe("artefact", path=f"{path.parent.name}/{path.name}", quantized=False)


def test_what_lies_in_a_folder_beside_it_lies_there_again(tmp_path):
    parts = variant_of(in_parts(tmp_path / "a" / "cnn.onnx", "weights/all.bin"), tmp_path)
    path = parts.export(tmp_path / "dist" / "cnn.onnx")
    assert list(page_of(path)["files"]) == ["cnn.onnx", "weights/all.bin"]
    assert (tmp_path / "dist" / "weights" / "all.bin").is_file()


def test_the_weights_of_another_export_are_not_written_over(tmp_path):
    one = variant_of(in_parts(tmp_path / "a" / "cnn.onnx", "all.bin"), tmp_path)
    recipe = in_parts(tmp_path / "b" / "cnn.onnx", "all.bin", with_noise(0.1))
    two = variant_of(recipe, tmp_path)
    first = one.export(tmp_path / "dist" / "one.onnx")
    before = first.with_name("all.bin").read_bytes()
    with pytest.raises(QuantStageError, match=r"so does one\.onnx.* a folder of its own"):
        two.export(tmp_path / "dist" / "two.onnx")
    assert first.with_name("all.bin").read_bytes() == before
    assert not first.with_name("two.onnx").exists()
    one.export(first)
    one.export(tmp_path / "dist" / "again.onnx")
    two.export(tmp_path / "other" / "two.onnx")


@pytest.mark.parametrize("taken", ["dist", "dist/cnn.onnx"])
def test_where_nothing_can_be_written_is_one_sentence(tmp_path, taken):
    variant = variant_of(Recipe("artefact", path=made_int8(tmp_path).name), tmp_path)
    if taken == "dist":
        (tmp_path / "dist").write_text("a file")
    else:
        (tmp_path / "dist" / "cnn.onnx").mkdir(parents=True)
    with pytest.raises(QuantStageError, match=r"export ERROR: .*cnn\.onnx cannot be written: "):
        variant.export(tmp_path / "dist" / "cnn.onnx")
