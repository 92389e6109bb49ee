"""Ranges are not spent on what the next operation cuts off, and never cut what somebody else reads."""

import onnx
import pytest
import torch
import torch.nn.functional as F
from builders import threads
from quantizable import Convolutional, built, decibels, images, made
from torch import nn

from pytest_quant import Recipe

WIDE = 40  # times what the operation tells apart
OPERATIONS = {
    "ReLU6": nn.ReLU6(),
    "Hardtanh": nn.Hardtanh(-2.0, 1.0),
    "Hardswish below": nn.Hardswish(),
    "Hardsigmoid": nn.Hardsigmoid(),
    "relu6": F.relu6,
    "hardtanh": F.hardtanh,
    "clamp": lambda x: torch.clamp(x, -1, 2),
    "clamp by name": lambda x: torch.clamp(input=x, max=2.0, min=0.0),
    "pooled": lambda x: F.max_pool2d(input=F.relu6(input=x), kernel_size=2),
}


class Saturating(nn.Module):
    """A convolution that gives far more than the next operation tells apart."""

    def __init__(self, operation, falls):
        super().__init__()
        self.wide, self.last = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 4, 3)
        self.operation = operation
        with torch.no_grad():
            self.wide.weight *= WIDE
            if falls:  # its far values are all on the side that is cut off
                self.wide.weight.copy_(-self.wide.weight.abs())

    def forward(self, x):
        return self.last(self.operation(self.wide(x))).mean((2, 3))


def positive(seed, sizes=(16, 16, 5)):
    return [(x.abs(), targets) for x, targets in images(seed, sizes)]


# FX gives a hardsigmoid a fixed range of 8 bits, with which ONNX Runtime's sums saturate without VNNI.
CASES = [
    *((name, "fx", "static") for name in OPERATIONS),
    *((name, "onnx", "static") for name in OPERATIONS if name != "Hardsigmoid"),
    *((name, "fx", "qat") for name in ("ReLU6", "clamp")),
]


@pytest.mark.parametrize(("name", "flow", "kind"), CASES)
def test_what_is_cut_off_costs_no_precision(name, flow, kind):
    falls = name == "Hardswish below"
    model = made(Saturating, OPERATIONS[name], falls)
    with threads(1):
        variant = built(model, Recipe(kind, flow=flow), positive if falls else images)
        assert decibels(variant) > (24 if kind == "static" else 10)
    assert not [note for note in variant.notes if "clipped" in note]


class Shared(nn.Module):
    """What is concatenated has one range, and only one part of it is cut off."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.last = (
            nn.Conv2d(3, 4, 3),
            nn.Conv2d(3, 4, 3),
            nn.Conv2d(8, 4, 3),
        )
        with torch.no_grad():
            self.right.weight *= 10

    def forward(self, x):
        return self.last(torch.cat([F.relu6(self.left(x)), self.right(x)], 1)).mean((2, 3))


class Read(Saturating):
    """What is cut off in one place is read whole in another."""

    def forward(self, x):
        outputs = self.wide(x)
        return self.last(self.operation(outputs)).mean((2, 3)) + self.last(outputs).mean((2, 3))


@pytest.mark.parametrize("flow", ["fx", "onnx"])
@pytest.mark.parametrize("make", [Shared, lambda: Read(nn.ReLU6(), False)], ids=["shared", "read"])
def test_what_is_read_elsewhere_is_not_cut_off(make, flow):
    with threads(1):
        assert decibels(built(made(make), Recipe("static", flow=flow))) > 20


def test_a_pool_behind_a_clamp_keeps_its_span():
    class Pooled(Convolutional):
        def forward(self, x):
            return super().forward(
                F.max_pool2d(F.relu6(30 * x), 2).repeat_interleave(2, 3)[..., :12]
            )

    with threads(1):
        assert decibels(built(made(Pooled), Recipe("static", flow="fx"))) > 15


def test_an_onnx_file_does_not_leave_int8_for_a_clip():
    with threads(1):
        variant = built(made(Saturating, nn.ReLU6(), False), Recipe("static", flow="onnx"))
    graph = onnx.load(variant.model.files[0]).graph
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    clips = [node for node in graph.node if node.op_type == "Clip"]
    assert {made_by[node.input[0]] for node in clips} <= {"QuantizeLinear"}
    assert {node.op_type for node in graph.node} >= {"QuantizeLinear", "Conv"}
