"""A clip between quantizations is done in int8, with the bits that it had in float."""

import collections
import itertools

import numpy
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from pytest_quant.runtimes.onnx_clips import clip_in_int8

VALUES = numpy.linspace(-20, 20, 4001, dtype=numpy.float32)
SCALES = (0.1, 0.0123, 6 / 255)
LIMITS = ((0.0, 6.0), (-2.0, 1.03), (0.0, None), (None, 0.5), (None, None))


def saved(path, scale, zero_point, limits, *, last_scale=None, is_read=False):
    """Quantize, dequantize, clip, quantize, dequantize."""
    constants = {
        "s": numpy.float32(scale),
        "z": zero_point,
        "t": numpy.float32(last_scale or scale),
    } | {name: numpy.float32(x) for name, x in zip("lh", limits, strict=True) if x is not None}
    ends = [name if name in constants else "" for name in "lh"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("Clip", ["d", *ends], ["c"], "clip"),
        helper.make_node("QuantizeLinear", ["c", "t", "z"], ["p"]),
        helper.make_node("DequantizeLinear", ["p", "t", "z"], ["y"]),
    ]
    outputs = ["y", *["d"] * is_read]
    graph = helper.make_graph(
        nodes, "clips",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in outputs],
        [numpy_helper.from_array(numpy.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.save(model, path)
    return path


def run(path):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options)
    return session.run(None, {"x": VALUES})


def kinds(path):
    return collections.Counter(node.op_type for node in onnx.load(path).graph.node)


@pytest.mark.parametrize("zero_point", [numpy.uint8(0), numpy.uint8(131), numpy.int8(-7)])
def test_the_bits_are_those_of_the_clip_in_float(tmp_path, zero_point):
    for number, (scale, limits) in enumerate(itertools.product(SCALES, LIMITS)):
        path = saved(tmp_path / f"{number}.onnx", scale, zero_point, limits)
        expected = run(path)
        clip_in_int8(path)
        numpy.testing.assert_array_equal(run(path), expected)
        assert kinds(path)["QuantizeLinear"] == kinds(path)["DequantizeLinear"] == 1


def test_a_quantization_that_saturates_at_the_limits_needs_no_clip(tmp_path):
    path = saved(tmp_path / "a.onnx", 6 / 255, numpy.uint8(0), (0.0, 6.0))
    clip_in_int8(path)
    assert kinds(path) == {"QuantizeLinear": 1, "DequantizeLinear": 1}


def test_what_else_is_read_stays(tmp_path):
    path = saved(tmp_path / "a.onnx", 0.1, numpy.uint8(3), (0.0, 6.0), is_read=True)
    expected = run(path)
    clip_in_int8(path)
    for found, wanted in zip(run(path), expected, strict=True):
        numpy.testing.assert_array_equal(found, wanted)
    assert kinds(path)["Clip"] == 1


def test_two_scales_are_left_alone(tmp_path):
    path = saved(tmp_path / "a.onnx", 0.1, numpy.uint8(3), (0.0, 6.0), last_scale=0.05)
    before = path.read_bytes()
    clip_in_int8(path)
    assert path.read_bytes() == before
