"""Saturation: sums of int8 products that overflow where the CPU has no VNNI, and how we keep out of it.

oneDNN reads its cap once, so each CPU is a process of its own: the kernel's are forked from one that has
imported torch, and all models are built in one.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
CAPS = (
    {},
    {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    {"ONEDNN_MAX_CPU_ISA": "AVX2_VNNI"},
    {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"},
    {"DNNL_MAX_CPU_ISA": "AVX512_CORE"},
)
WITHOUT_VNNI = {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}
# 64 products of 1 and 1, in int8: 64 if they are added in 32 bits. One line for each cap.
KERNEL = """
import json, os, sys
import torch
from pytest_quant.machine.conditions import engine_set, known_warnings_silenced
from pytest_quant.machine.engines import has_vnni


def under(cap):
    os.environ.update(cap)
    with known_warnings_silenced(), engine_set("onednn"):
        weight = torch.quantize_per_channel(
            torch.ones(4, 64), torch.full((4,), 1 / 127), torch.zeros(4, dtype=int), 0, torch.qint8
        )
        layer = torch.ao.nn.quantized.Linear(64, 4)
        layer.set_weight_bias(weight, torch.zeros(4))
        layer.scale = 0.3
        ones = torch.quantize_per_tensor(torch.ones(2, 64), 1 / 255, 0, torch.quint8)
        print(float(layer(ones).dequantize()[0, 0]), has_vnni(), flush=True)


for cap in json.loads(sys.argv[1]):
    child = os.fork()
    if child == 0:
        under(cap)
        os._exit(0)
    if os.waitpid(child, 0)[1] != 0:
        sys.exit(f"the process under {cap} died")
"""
# Weights near their maximum and inputs near theirs, as in the worst case.
MODELS = """
import json, sys
import torch
from torch import nn
from quantizable import built, classes, decibels, made
from pytest_quant import Recipe
from pytest_quant.quantize import qconfigs
from pytest_quant.quantize.flows import pt2e

recipes = json.loads(sys.argv[1])


class Extreme(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(16, 32, 3), nn.Conv2d(32, 32, 3)
        self.fc = nn.Linear(32, 10)
        for layer in (self.first, self.second, self.fc):
            nn.init.uniform_(layer.weight, 0.9, 1.0)
            with torch.no_grad():
                layer.weight.mul_(torch.randn_like(layer.weight).sign())
                layer.weight.div_(layer.weight[0].numel() ** 0.5)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        return self.fc(torch.relu(self.second(torch.relu(self.first(x)))).mean((2, 3)))


def batches(seed, sizes=(8, 5)):
    torch.manual_seed(seed)
    return [(0.8 + 0.2 * torch.rand(n, 16, 10, 10), classes(n)) for n in sizes]


def print_decibels():
    for kind, options in recipes:
        print(decibels(built(made(Extreme), Recipe(kind, **options), batches)))


print_decibels()
qconfigs.must_reduce_range = pt2e.must_reduce_range = lambda engine: False
print_decibels()
"""
ONEDNN, PT2E = ["static", {"engine": "onednn"}], ["static", {"flow": "pt2e"}]
X86 = ["static", {"engine": "x86"}]


def run(program, argument, cap=None):
    """What a program prints in a process of its own, line by line."""
    clean = {name: value for name, value in os.environ.items() if not name.endswith("MAX_CPU_ISA")}
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(argument)],
        env=clean | (cap or {}) | {"PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


@pytest.fixture(scope="module")
def kernels():
    """Under each cap, what oneDNN makes of 64 ones here, and whether we say that there is VNNI."""
    caps = [*CAPS, WITHOUT_VNNI]
    lines = [line.split() for line in run(KERNEL, caps)]
    told = [(float(value), vnni == "True") for value, vnni in lines]
    return dict(zip(map(str, caps), told, strict=True))


@pytest.fixture(scope="module")
def saturates(kernels):
    """Whether oneDNN's kernels saturate here, once they are capped."""
    value, vnni = kernels[str(WITHOUT_VNNI)]
    assert not vnni
    if value == pytest.approx(64, abs=1):
        pytest.skip("oneDNN's int8 kernels do not saturate on this CPU, even when capped")
    assert value == pytest.approx(32.5, abs=1)  # each pair of products was clipped to 2**15 - 1


@pytest.fixture(scope="module")
def decibels(saturates):
    """Of variants built without VNNI: as they are, and as if their activations had all 8 bits."""
    found = list(map(float, run(MODELS, [ONEDNN, PT2E, X86], WITHOUT_VNNI)))
    return {"7 bits": found[:3], "8 bits": found[3:]}


@pytest.mark.parametrize("cap", CAPS, ids=lambda cap: " ".join(cap.values()) or "no cap")
@pytest.mark.slow
def test_where_we_say_vnni_nothing_saturates(kernels, cap):
    value, vnni = kernels[str(cap)]
    if vnni:
        assert value == pytest.approx(64, abs=0.3)


@pytest.mark.slow
def test_where_kernels_saturate_activations_keep_to_seven_bits(decibels):
    assert len(decibels["7 bits"]) == 3
    assert min(decibels["7 bits"]) > 30


@pytest.mark.slow
def test_without_that_they_would_be_far_off(decibels):
    onednn, pt2e, x86 = decibels["8 bits"]
    assert max(onednn, pt2e) < 15
    assert x86 > 30  # PyTorch itself keeps x86 to seven bits
