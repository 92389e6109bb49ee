"""Exported: a small CNN, and files of it for other runtimes, made without PyTorch's exporter."""

import copy
import logging
import warnings

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

CLASSES = 4
# Of a repo whose model this is.
CONFTEST = """
import pytest
import exported


@pytest.fixture(scope="session")
def quant_model():
    return exported.Cnn()


@pytest.fixture(scope="session")
def quant_eval_data():
    return exported.images(1)
"""


class Cnn(nn.Module):
    """Four classes of [n, 2, 6, 4], by weights that nobody has trained."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.near = nn.Conv2d(2, 8, 3, padding=1)
        self.far = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.head = nn.Linear(8 * 3 * 2, CLASSES)
        self.eval()

    def forward(self, image):
        image = torch.relu(self.near(image))
        return self.head(torch.relu(self.far(image)).flatten(1))


class TwoInputs(nn.Module):
    """The difference of two layers, [n, 3], each of an input of its own, [n, 4]."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(7)
        self.one, self.two = nn.Linear(4, 3), nn.Linear(4, 3)
        self.eval()

    def forward(self, left, right):
        return self.one(left) - self.two(right)


def images(seed, samples=96, size=32):
    """Batches with the class that the CNN gives, so that FP32 is always right."""
    x = torch.randn(samples, 2, 6, 4, generator=torch.Generator().manual_seed(seed))
    model = Cnn()
    with torch.no_grad():
        return list(zip(x.split(size), model(x).argmax(1).split(size), strict=True))


def fp32_onnx(path, model=None, *, before=(), after=(), name="image", opset=17, sizes=(2, 6, 4)):
    """The CNN as an ONNX model in float.

    Args:
        before, after: of the CNN: operators of one input, each (type, attributes, constants).
        name: of the input.
        sizes: of a sample.
    """
    model = model or Cnn()
    nodes, constants, value = [], {}, name

    def add(kind, inputs, **attributes):
        nodes.append(helper.make_node(kind, inputs, [f"v{len(nodes)}"], **attributes))
        return f"v{len(nodes) - 1}"

    def held(label, array):
        constants[label] = numpy_helper.from_array(np.asarray(array), label)
        return label

    def chained(value, steps):
        for number, (kind, attributes, extra) in enumerate(steps):
            more = [held(f"{kind}{len(nodes)}_{number}_{i}", e) for i, e in enumerate(extra)]
            value = add(kind, [value, *more], **attributes)
        return value

    value = chained(value, before)
    for layer, stride in (("near", 1), ("far", 2)):
        weights = [
            held(f"{layer}.{part}", getattr(getattr(model, layer), part).detach().numpy())
            for part in ("weight", "bias")
        ]
        value = add("Conv", [value, *weights], pads=[1] * 4, strides=[stride] * 2)
        value = add("Relu", [value])
    value = add("Flatten", [value])
    head = [
        held(f"head.{part}", getattr(model.head, part).detach().numpy())
        for part in ("weight", "bias")
    ]
    value = add("Gemm", [value, *head], transB=1)
    value = chained(value, after)
    nodes.append(helper.make_node("Identity", [value], ["logits"]))
    graph = helper.make_graph(
        nodes,
        "cnn",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *sizes])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", CLASSES])],
        list(constants.values()),
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = 8
    onnx.save(made, path)
    return path


def int8_onnx(source, path, *, inputs=None, per_channel=True, activations="QUInt8"):
    """A file quantized by ONNX Runtime's own quantizer.

    Args:
        source: the ONNX model in float.
        inputs: to calibrate on [batches of arrays]; default two batches of images.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    batches = [x.numpy() for x, _ in images(7)] if inputs is None else inputs
    (name,) = (each.name for each in onnx.load(source).graph.input)

    class Reader(CalibrationDataReader):
        left = iter([{name: batch} for batch in batches])

        def get_next(self):
            return next(self.left, None)

    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            quantize_static(
                str(source),
                str(path),
                Reader(),
                per_channel=per_channel,
                activation_type=QuantType[activations],
                weight_type=QuantType.QInt8,
            )
    finally:
        logging.disable(logging.NOTSET)
    return path


def made_int8(folder, name="int8.onnx", *, batch=None, quantized=None, **how):
    """The CNN in int8: its float model quantized as said.

    Args:
        batch: that the file takes; None for any.
    """
    source = fp32_onnx(folder / f"{name}.float.onnx", **how)
    path = int8_onnx(source, folder / name, **(quantized or {}))
    if batch is not None:
        model = onnx.load(path)
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = batch
        onnx.save(model, path)
    return path


def as_openvino(source, path):
    """An ONNX model as an OpenVINO IR."""
    import openvino

    openvino.save_model(openvino.convert_model(str(source)), str(path), compress_to_fp16=False)
    return path


def with_noise(share):
    """The CNN with noise on its weights: another checkpoint."""
    model = copy.deepcopy(Cnn())
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(share * parameter.std() * torch.randn_like(parameter))
    return model
