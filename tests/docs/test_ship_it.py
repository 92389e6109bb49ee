"""The page "Ship it": what it lets production run gives what was judged."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from exported import Cnn, images
from pages import ROOT, code_of

from pytest_quant import Recipe, Subject, open_store
from pytest_quant.machine.conditions import Conditions

PAGE = ROOT / "docs/how_to/ship_it.md"
LINES = 10  # at most, of what production runs
# By what the page loads with: a flow, how its file is written, and what production has at hand.
ARRAY = 'import numpy\nimages = numpy.load("images.npy")\n'
TENSOR = f"{ARRAY}import torch\nimages = torch.from_numpy(images)\n"
SHIPPED = {
    "load_variant": (
        "fx",
        "save",
        "model.pt",
        f"{TENSOR}from exported import Cnn as make_my_model\n",
    ),
    "aoti_load_package": ("pt2e", "export", "model.pt2", TENSOR),
    "onnxruntime": ("onnx", "export", "model.onnx", ARRAY),
    "openvino": ("openvino", "export", "model.xml", ARRAY),
}
AFTER = """
numpy.save("outputs.npy", outputs)
import sys
assert NEEDS_US or not {"pytest_quant", "torchao"} & {*sys.modules}
"""


@pytest.mark.slow
@pytest.mark.parametrize("loads", SHIPPED)
def test_what_production_runs_gives_what_was_judged(tmp_path, loads):
    flow, write, name, before = SHIPPED[loads]
    subject = Subject(Cnn(), eval_data=images(1), calibration_data=images(2))
    variant = open_store(Conditions(threads=1)).variant(subject, Recipe("static", flow=flow))
    getattr(variant, write)(tmp_path / name)
    x = images(1)[0][0]
    (block,) = (each for each in code_of(PAGE) if loads in each and f'"{name}"' in each)
    assert f'{write}("' in PAGE.read_text(encoding="utf-8")
    assert len(block.splitlines()) <= LINES
    np.save(tmp_path / "images.npy", x.numpy())
    script = before + block + AFTER.replace("NEEDS_US", str(loads == "load_variant"))
    path = ":".join(map(str, (ROOT, ROOT / "tests" / "runtimes")))
    subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, check=True, timeout=300,
        env={"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )  # fmt: skip
    outputs = torch.from_numpy(np.load(tmp_path / "outputs.npy"))
    assert torch.equal(outputs, variant.forward(x))
