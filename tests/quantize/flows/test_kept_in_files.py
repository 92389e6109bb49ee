"""What keep_fp32 names runs in float in files of other runtimes too, under the user's name of it."""

import pytest
import torch
from builders import ONE_THREAD
from torch import nn

from pytest_quant import Recipe, Subject, open_store

LAYERS = ("near", "far", "wide", "head")


class Between(nn.Module):
    """Layers before a batch normalization, an activation, another layer and nothing: of each and what
    follows it runtimes make one."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.near, self.norm = nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.far = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.wide, self.act, self.head = nn.Linear(48, 32), nn.Hardswish(), nn.Linear(32, 4)
        self.eval()

    def forward(self, image):
        image = self.far(torch.relu(self.norm(self.near(image))))
        return self.head(self.act(self.wide(image.flatten(1))))


def bits_of(recipe):
    """By the user's names of layers."""
    made = torch.Generator().manual_seed(1)
    batches = [torch.randn(16, 2, 6, 4, generator=made) for _ in range(2)]
    labels = torch.arange(16) % 4
    subject = Subject(Between(), eval_data=[(batches[0], labels)], calibration_data=batches[1:])
    variant = open_store(ONE_THREAD).variant(subject, recipe)
    assert set(variant.int8_share.stayed_fp32) <= {*LAYERS}
    return {kernel.name: kernel.bits for kernel in variant.model.kernels}


@pytest.mark.parametrize("flow", ["onnx", "openvino"])
@pytest.mark.parametrize("kept", LAYERS)
def test_a_layer_that_is_kept_runs_in_float_and_no_other(flow, kept):
    bits = bits_of(Recipe("static", flow=flow, keep_fp32=(kept,)))
    assert bits == dict.fromkeys(LAYERS, 8) | {kept: 32}


@pytest.mark.parametrize("kept", ["wide", "head"])
def test_in_dynamic_quantization_too(kept):
    bits = bits_of(Recipe("dynamic", flow="onnx", keep_fp32=(kept,)))
    assert bits == {"near": 32, "far": 32, "wide": 8, "head": 8} | {kept: 32}
