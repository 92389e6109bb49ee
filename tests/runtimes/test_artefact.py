"""Files of other runtimes as variants: what they give, weigh and run, and what cannot be one."""

import copy
import os

import numpy as np
import onnx
import pytest
import torch
from builders import threads
from exported import CLASSES, Cnn, TwoInputs, as_openvino, fp32_onnx, images, made_int8, with_noise
from onnx import TensorProto, helper
from tflite import linear_file
from torch import nn

from pytest_quant.errors import QuantStageError
from pytest_quant.explain.notes import notes_on
from pytest_quant.judge.honesty import why_refused
from pytest_quant.machine.conditions import Conditions
from pytest_quant.measure.nearness import nearness
from pytest_quant.runtimes import open_vino, trial
from pytest_quant.runtimes.artefact import Artefact
from pytest_quant.runtimes.onnx_export import folded, onnx_file
from pytest_quant.runtimes.registry import RUNTIMES
from pytest_quant.store.open import open_store
from pytest_quant.subject.subject import Subject
from pytest_quant.variant.recipe import SUFFIXES, Recipe


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def int8(folder):
    return made_int8(folder)


def with_graph(path, nodes, inputs, outputs, constants=(), sparse=()):
    """A file of these nodes; inputs and outputs are (name, type, sizes)."""
    values = [[helper.make_tensor_value_info(*each) for each in part] for part in (inputs, outputs)]
    held = [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in constants]
    graph = helper.make_graph(nodes, "g", *values, held, sparse_initializer=list(sparse))
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def variant_of(path, subject=None, **more):
    conditions = Conditions(threads=1, root=path.parent)
    subject = subject or Subject(Cnn(), eval_data=images(1))
    return open_store(conditions).variant(subject, Recipe("artefact", path=path.name, **more))


def refused(path, subject=None):
    with pytest.raises(QuantStageError) as raised:
        variant_of(path, subject)
    return str(raised.value)


def test_each_suffix_of_a_recipe_has_a_runtime():
    assert tuple(runtime.SUFFIX for runtime in RUNTIMES) == SUFFIXES


def test_an_onnx_file_is_a_variant_like_any_other(int8):
    variant = variant_of(int8)
    assert variant.size.tensor_bytes == int8.stat().st_size
    assert variant.int8_share.macs == 1.0
    assert 0.97 < variant.int8_share.parameters < 0.99  # all but biases
    assert 15 < nearness(variant) < 60
    assert variant.evaluation.values["top-1"] > 0.95
    assert why_refused(variant) is None
    assert any(note.startswith("run by ONNX Runtime ") for note in notes_on(variant))


def test_a_float_file_is_told_to_be_none(folder):
    variant = variant_of(fp32_onnx(folder / "float.onnx"))
    assert nearness(variant) > 90
    assert "of the 3 operations with weights that ONNX Runtime" in why_refused(variant)
    assert "quantized=False" in why_refused(variant)
    assert why_refused(variant_of(folder / "float.onnx", quantized=False)) is None


def test_weights_in_int8_that_run_in_float_are_no_int8(folder):
    path = made_int8(folder, "a16.onnx", quantized={"activations": "QUInt16"}, opset=21)
    held = onnx.load(path).graph.initializer
    narrow = sum(np.prod(each.dims) for each in held if each.data_type == TensorProto.INT8)
    assert narrow > 700  # of 912 weights, in the file
    variant = variant_of(path)
    assert variant.int8_share.macs < 0.05  # a Gemm may stay in integers
    assert len(variant.int8_share.stayed_fp32) >= 2


def test_an_openvino_file_counts_with_its_weights_and_computes_in_float32(folder, int8):
    path = as_openvino(int8, folder / "int8.xml")
    variant = variant_of(path)
    assert (
        variant.size.tensor_bytes == path.stat().st_size + path.with_suffix(".bin").stat().st_size
    )
    assert variant.int8_share.macs == 1.0
    assert nearness(variant) == pytest.approx(nearness(variant_of(int8)), abs=3)
    plain = variant_of(as_openvino(fp32_onnx(folder / "plain.onnx"), folder / "plain.xml"))
    assert nearness(plain) > 90  # bfloat16 would be at 33 to 52 dB
    assert plain.int8_share.macs == 0.0


def test_openvino_compiles_for_the_sizes_of_a_call_and_once_for_all_others(tmp_path):
    file = onnx_file(Cnn(), images(1)[0][:1], {}, 1, "free", folded)
    session = open_vino.load(as_openvino(file.path, tmp_path / "free.xml"), 1)
    whole = images(1)[0][0].numpy()
    (wanted,) = session.run([whole])
    requests = []
    for count in range(1, 10):
        (outputs,) = session.run([whole[:count]])
        np.testing.assert_allclose(outputs, wanted[:count], atol=1e-5)
        requests.append(session.request([whole[:count]]))
    sizes = [each.get_compiled_model().inputs[0].get_partial_shape() for each in requests]
    assert [str(each[0]) for each in sizes[:5]] == ["1", "2", "3", "4", "5"]
    assert {str(each[0]) for each in sizes[5:]} == {"?"}
    assert len({*map(id, requests[5:])}) == 1


def linear():
    torch.manual_seed(0)
    return nn.Linear(8, 3).eval()


def linear_subject(model):
    x = torch.randn(50, 8, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return Subject(model, eval_data=[(x, model(x).argmax(1))])


@pytest.mark.parametrize("batch", [1, 7, -1])
def test_a_litert_file_takes_and_gives_int8_by_its_own_scales(tmp_path, batch):
    model = linear()
    weights = (model.weight.detach().numpy(), model.bias.detach().numpy())
    scales = (4 / 127, 3 / 127)
    path = linear_file(tmp_path / "int8.tflite", *weights, scales=scales, batch=batch)
    variant = variant_of(path, linear_subject(model))
    assert 25 < nearness(variant) < 60  # -69 dB without the scales
    assert variant.int8_share.macs == 1.0
    assert len(variant.evaluation) == 50
    assert any("at a time" in note for note in variant.notes) == (batch > 0)
    plain = variant_of(linear_file(tmp_path / "f.tflite", *weights), linear_subject(model))
    assert nearness(plain) > 90
    assert "was not quantized" in why_refused(plain)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of ExecuTorch's exporter
def test_an_executorch_file_runs_with_a_share_that_is_not_known(tmp_path):
    exir = pytest.importorskip("executorch.exir")
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.backends.xnnpack.quantizer import xnnpack_quantizer
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    example = (images(7)[0][0][:4],)
    quantizer = xnnpack_quantizer.XNNPACKQuantizer().set_global(
        xnnpack_quantizer.get_symmetric_quantization_config(is_per_channel=True)
    )
    prepared = prepare_pt2e(torch.export.export(Cnn(), example).module(), quantizer)
    for x, _ in images(7):
        prepared(x[:4])
    int8 = torch.export.export(convert_pt2e(prepared), example)
    for name, program in (("int8", int8), ("float", torch.export.export(Cnn(), example))):
        lowered = exir.to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
        (tmp_path / f"{name}.pte").write_bytes(lowered.to_executorch().buffer)
    variant = variant_of(tmp_path / "int8.pte")
    assert 10 < nearness(variant) < 60
    assert variant.int8_share.parameters is None
    assert why_refused(variant) is None
    with threads(2):  # which is the whole process's number, and crashes what was loaded before
        assert variant.forward(example[0]).shape == (4, CLASSES)
    assert variant.forward(example[0]).shape == (4, CLASSES)
    assert "was not quantized" in why_refused(variant_of(tmp_path / "float.pte"))


def test_a_copy_and_another_number_of_threads_have_sessions_of_their_own(int8):
    model = variant_of(int8).model
    x = images(1)[0][0]
    with threads(1):
        expected = model(x)
        copied = copy.deepcopy(model)
        assert torch.equal(copied(x), expected)
        assert copied.session(1) is not model.session(1)
    with threads(2):
        assert torch.allclose(model(x), expected, atol=1e-5)
        assert list(model._sessions) == [2]


def test_a_file_that_changes_while_a_run_goes_on_is_refused(folder):
    path = made_int8(folder, "changes.onnx")
    model = variant_of(path).model
    path.write_bytes(made_int8(folder, "other.onnx", quantized={"per_channel": False}).read_bytes())
    with pytest.raises(QuantStageError, match="is another file than when it was first read"):
        copy.deepcopy(model)(images(1)[0][0])


class Dicts(nn.Module):
    """Takes words and a mask by name, and gives a dict of two tensors and a text."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(6, 3)

    def forward(self, ids, mask=None):
        x = ids.float() * (1 if mask is None else mask)
        return {"logits": self.head(x), "told": "so", "pooled": x.mean(1)}


def test_inputs_and_outputs_by_name_keep_the_form_of_the_model(tmp_path):
    torch.manual_seed(0)
    model = Dicts().eval()
    weight, bias = (p.detach().numpy() for p in (model.head.weight, model.head.bias))
    kind = TensorProto.INT64
    nodes = [
        helper.make_node("Cast", ["mask"], ["m"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["ids"], ["i"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["i", "m"], ["x"]),
        helper.make_node("Gemm", ["x", "w", "b"], ["logits"], transB=1),
        helper.make_node("ReduceMean", ["x"], ["pooled"], axes=[1], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, kind, ["n", 6]) for name in ("mask", "ids")],
        [
            helper.make_tensor_value_info("pooled", TensorProto.FLOAT, ["n"]),
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3]),
        ],
        [onnx.numpy_helper.from_array(weight, "w"), onnx.numpy_helper.from_array(bias, "b")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(made, tmp_path / "dicts.onnx")
    ids = torch.randint(0, 9, (40, 6), generator=torch.Generator().manual_seed(0))
    batch = {"ids": ids, "mask": (ids > 3).long()}
    with torch.no_grad():
        labels = model(**batch)["logits"].argmax(1)
    subject = Subject(
        model,
        eval_data=[batch | {"labels": labels}],
        metric=lambda outputs, targets: (outputs["logits"].argmax(1) == targets).float(),
    )
    variant = variant_of(tmp_path / "dicts.onnx", subject, quantized=False)
    outputs = variant.forward(batch)
    assert list(outputs) == ["logits", "told", "pooled"]
    assert outputs["told"] == "so"
    assert outputs["pooled"].shape == (40,)
    assert list(variant.evaluation.values.values()) == [1.0]


# What cannot be a variant: one sentence each.


def test_a_file_that_is_not_there(tmp_path):
    said = refused(tmp_path / "none.onnx")
    assert "none.onnx is not there; a path is taken from rootdir" in said


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".tflite", ".pte"])
def test_what_is_no_model(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr("pytest_quant.runtimes.registry.find_spec", lambda name: True)
    path = tmp_path / f"text{suffix}"
    path.write_text("oid sha256:123\nsize 4\n")
    assert "it is no" in refused(path)


def test_what_git_lfs_has_not_fetched(folder, int8):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:123\nsize 4\n"
    (folder / "pointer.onnx").write_text(pointer)
    assert "pointer.onnx is a pointer of Git LFS" in refused(folder / "pointer.onnx")
    as_openvino(int8, folder / "pointer.xml")
    (folder / "pointer.bin").write_text(pointer)
    assert "pointer.bin is a pointer of Git LFS" in refused(folder / "pointer.xml")


def test_a_link_to_what_has_another_name_as_in_a_cache_of_a_hub(folder, int8):
    (folder / "blobs").mkdir()
    (folder / "blobs" / "8f3a").write_bytes(int8.read_bytes())
    (folder / "link.onnx").symlink_to(folder / "blobs" / "8f3a")
    variant = variant_of(folder / "link.onnx")
    assert variant.size.tensor_bytes == int8.stat().st_size
    assert variant.int8_share.macs == 1.0


def test_half_a_file(folder, int8):
    path = folder / "half.onnx"
    path.write_bytes(int8.read_bytes()[: int8.stat().st_size // 2])
    assert "it is no ONNX model" in refused(path)


def test_external_data_that_is_missing(folder):
    model = onnx.load(fp32_onnx(folder / "whole.onnx"))
    onnx.save(
        model,
        folder / "parts.onnx",
        save_as_external_data=True,
        location="parts.data",
        size_threshold=0,
    )
    variant = variant_of(folder / "parts.onnx")
    both = (folder / "parts.onnx").stat().st_size + (folder / "parts.data").stat().st_size
    assert variant.size.tensor_bytes == both
    (folder / "parts.data").unlink()
    assert "needs parts.data, with its weights, which is not beside it" in refused(
        folder / "parts.onnx"
    )


def test_an_opset_and_an_operator_that_the_runtime_does_not_know(folder):
    path = fp32_onnx(folder / "new.onnx", opset=99)
    said = refused(path)
    assert "cannot load" in said
    assert "opset" in said.lower()
    model = onnx.load(fp32_onnx(folder / "own.onnx"))
    model.graph.node[1].op_type = "MyRelu"
    model.graph.node[1].domain = "com.mine"
    model.opset_import.append(helper.make_opsetid("com.mine", 1))
    onnx.save(model, folder / "own.onnx")
    assert "MyRelu" in refused(folder / "own.onnx")


def test_other_inputs_and_outputs(folder, int8):
    other = Subject(nn.Sequential(nn.Flatten(), nn.Linear(12, 4)).eval(), eval_data=[
        (torch.randn(20, 2, 3, 2), torch.arange(20) % 4)
    ])  # fmt: skip
    assert "and the model is given [20, 2, 3, 2]" in refused(int8, other)
    fewer = Subject(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)).eval(), eval_data=[
        (torch.randn(20, 2, 6, 4), torch.arange(20) % 2)
    ])  # fmt: skip
    assert "it gives [20, 4] where the model gives" in refused(int8, fewer)


def test_a_runtime_that_is_not_installed(int8, monkeypatch):
    monkeypatch.setattr("pytest_quant.runtimes.registry.find_spec", lambda name: None)
    said = refused(int8)
    assert "needs ONNX Runtime, which is not installed: pip install 'pytest-quant[onnx]'" in said


def test_a_first_call_that_crashes_or_hangs_leaves_this_process_alone(int8, monkeypatch):
    start = trial.START.replace("answer(sys.argv[2])", "import os; os.kill(os.getpid(), 11)")
    monkeypatch.setattr(trial, "START", start)
    assert "ended its process by SIGSEGV" in refused(int8)
    monkeypatch.setattr(trial, "START", "import time; time.sleep(60)")
    monkeypatch.setattr(trial.tried, "__defaults__", (0.5,))
    assert "did not end in 0 s" in refused(int8)


def test_the_fresh_process_has_the_runtime_and_numpy_alone(int8, monkeypatch):
    start = trial.START + "\nassert 'torch' not in sys.modules, 'torch'\n"
    monkeypatch.setattr(trial, "START", start)
    assert isinstance(variant_of(int8).model, Artefact)


def test_files_of_one_batch_at_a_time(folder):
    path = made_int8(folder, "five.onnx", batch=5)
    variant = variant_of(path)
    assert "five.onnx takes 5 samples at a time" in variant.notes
    whole = variant_of(made_int8(folder, "any.onnx"))
    assert np.allclose(variant.forward(images(1)[0][0]), whole.forward(images(1)[0][0]), atol=1e-5)
    assert variant.int8_share.macs == pytest.approx(1.0)


def test_a_file_with_channels_last_is_named(folder):
    path = made_int8(
        folder,
        "nhwc.onnx",
        sizes=(6, 4, 2),
        before=[("Transpose", {"perm": [0, 3, 1, 2]}, [])],
        quantized={"inputs": [x.permute(0, 2, 3, 1).numpy() for x, _ in images(7)]},
    )
    variant = variant_of(path)
    assert "nhwc.onnx takes its inputs channels last (NHWC)" in variant.notes
    assert variant.evaluation.values["top-1"] > 0.95


def test_recipes_refuse_what_is_no_file():
    for given, error in {
        "https://there/model.onnx": "expected a file on this machine",
        "model.bin": "that ends with one of .onnx, .xml, .pte, .tflite",
    }.items():
        with pytest.raises(ValueError, match=error):
            Recipe("artefact", path=given)
    with pytest.raises(TypeError, match="goes with kind='artefact'"):
        Recipe("static", path="m.onnx")
    with pytest.raises(TypeError, match="goes with kind='artefact'"):
        Recipe("artefact")
    assert Recipe.from_dict(Recipe("artefact", path="m.onnx").to_dict()).path == "m.onnx"


def test_inputs_by_name_may_come_in_any_order():
    model, x, y = TwoInputs(), torch.randn(6, 4), torch.randn(6, 4)
    for kwargs in ({"left": x, "right": y}, {"right": y, "left": x}):
        made = onnx_file(model, (), kwargs, 1, "ours", folded)
        for again in ({"left": x, "right": y}, {"right": y, "left": x}):
            torch.testing.assert_close(made(**again), model(x, y))
        torch.testing.assert_close(made(x, right=y), model(x, y))


class Repeats(nn.Module):
    """Three times over a small layer, then a large one."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.small, self.large = nn.Linear(8, 8, bias=False), nn.Linear(8, 40, bias=False)

    def forward(self, x):
        for _ in range(3):
            x = self.small(x)
        return self.large(x)


def test_weights_that_a_loop_takes_again_and_again_count_once(folder):
    model = Repeats().eval()
    small, large = (each.weight.detach().numpy().T for each in (model.small, model.large))
    scale = np.float32(np.abs(small).max() / 127)
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("DynamicQuantizeLinear", ["h"], ["q", "s", "z"]),
            helper.make_node("MatMulInteger", ["q", "w", "z"], ["i"], "small"),
            helper.make_node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["s", "scale"], ["by"]),
            helper.make_node("Mul", ["f", "by"], ["out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("h", TensorProto.FLOAT, ["n", 8]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 8]),
        ],
    )
    path = with_graph(
        folder / "loop.onnx",
        [
            helper.make_node("Loop", ["times", "", "x"], ["last"], body=body),
            helper.make_node("MatMul", ["last", "large"], ["y"], "large_node"),
        ],
        [("x", TensorProto.FLOAT, ["n", 8])],
        [("y", TensorProto.FLOAT, ["n", 40])],
        [
            ("times", np.int64(3)),
            ("w", np.round(small / scale).astype(np.int8)),
            ("scale", scale),
            ("large", large),
        ],
    )
    x = torch.randn(40, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        subject = Subject(model, eval_data=[(x, model(x).argmax(1))])
    share = variant_of(path, subject).int8_share
    assert share.parameters == pytest.approx(64 / (64 + 320))
    assert share.macs == pytest.approx(3 * 64 / (3 * 64 + 320))


def test_a_gate_refuses_a_file_that_was_changed_since_it_was_measured(folder):
    path = made_int8(folder, "between.onnx")
    variant = variant_of(path)
    assert why_refused(variant) is None
    os.utime(path, (1, 1))  # written again, as it was
    assert why_refused(variant) is None
    path.write_bytes(made_int8(folder, "next.onnx", model=with_noise(0.1)).read_bytes())
    with pytest.raises(QuantStageError, match="is another file than when it was first read"):
        why_refused(variant)
    path.unlink()
    with pytest.raises(QuantStageError, match="is another file than when it was first read"):
        why_refused(variant)


def test_a_fixed_batch_beside_an_output_that_is_one_number(folder):
    model = onnx.load(fp32_onnx(folder / "one_number.onnx"))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 7
    model.graph.node.append(helper.make_node("ReduceMax", ["logits"], ["most"], keepdims=0))
    model.graph.output.append(helper.make_tensor_value_info("most", TensorProto.FLOAT, []))
    onnx.save(model, folder / "one_number.onnx")
    variant = variant_of(folder / "one_number.onnx", quantized=False)
    assert nearness(variant) > 90
