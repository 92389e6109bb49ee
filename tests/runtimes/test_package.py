"""A package of AOTInductor: PyTorch alone loads it, and gives the bits that were judged."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from exported import Cnn, images
from torch import nn

from pytest_quant import Recipe, Subject, open_store
from pytest_quant.errors import QuantStageError
from pytest_quant.machine.conditions import Conditions
from pytest_quant.quantize.flows.exported import Compiled
from pytest_quant.runtimes import package_shipment

PT2E = Recipe("static", flow="pt2e")
# What a user writes in production, whose names are those of the model's arguments.
ALONE = """
import sys, torch
model = torch._inductor.aoti_load_package(sys.argv[1])
inputs = torch.load(sys.argv[2], weights_only=True)
with torch.inference_mode():
    torch.save([model(**each) for each in inputs], sys.argv[2])
assert "pytest_quant" not in sys.modules and "torchao" not in sys.modules
"""


def built(model, data, calibration, **given):
    subject = Subject(model, eval_data=data, calibration_data=calibration, **given)
    return open_store(Conditions(threads=1)).variant(subject, PT2E, "ours")


def alone(path, calls):
    """What a package gives for each call, in a process of its own."""
    held = path.with_name("calls.pt")
    torch.save(calls, held)
    subprocess.run([sys.executable, "-P", "-c", ALONE, path, held], check=True, timeout=300)
    return torch.load(held, weights_only=True)


@pytest.fixture(scope="module")
def cnn():
    return built(Cnn(), images(1), images(2))


@pytest.fixture(scope="module")
def package(cnn, tmp_path_factory):
    return cnn.export(tmp_path_factory.mktemp("dist") / "cnn.pt2")


def test_it_takes_any_batch_by_the_names_of_the_models_arguments(cnn, package):
    x = images(1)[0][0]
    calls = [{"image": x}, {"image": x[:1]}, {"image": x[:5]}]
    for call, outputs in zip(calls, alone(package, calls), strict=True):
        assert torch.equal(outputs, cnn.forward(call["image"]))


def test_its_page_says_what_was_judged_and_how_it_is_called(cnn, package):
    page = json.loads(package.with_name("cnn.pt2.json").read_text())
    assert page["runtime"] == f"PyTorch {torch.__version__} (AOTInductor)"
    assert list(page["files"]) == ["cnn.pt2"]
    assert page["recipe"]["flow"] == "pt2e"
    assert page["inputs"] == [{"name": "image", "shape": [None, 2, 6, 4], "dtype": "float32"}]
    again = open_store(Conditions(threads=1)).variant(cnn.subject, PT2E, "again")
    with again.isolated():
        assert package_shipment.PackageShipment(again, again.model).digest == page["variant_digest"]


class Nested(nn.Module):
    """Takes a dict and a mask, gives a dict."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.near, self.far = nn.Linear(8, 16), nn.Linear(16, 4)
        self.eval()

    def forward(self, parts, mask):
        x = torch.relu(self.near(parts["a"] + parts["b"])) * mask[:, None]
        return {"logits": self.far(x), "energy": x.square().sum(1)}


def test_inputs_and_outputs_keep_their_form(tmp_path):
    model, generator = Nested(), torch.Generator().manual_seed(0)
    data = []
    for count in (6, 6, 1, 6, 6):
        parts = {name: torch.randn(count, 8, generator=generator) for name in "ab"}
        data.append(((parts, torch.ones(count)), torch.arange(count) % 4))
    metric = {"top-1": lambda outputs, targets: outputs["logits"].argmax(1) == targets}
    variant = built(model, data[:3], data[3:], metric=metric)
    path = variant.export(tmp_path / "nested.pt2")
    page = json.loads(path.with_name("nested.pt2.json").read_text())
    assert [each["name"] for each in page["inputs"]] == ["parts.0", "parts.1", "mask"]
    calls = [{"parts": parts, "mask": mask} for (parts, mask), _ in data[:3]]
    for call, outputs in zip(calls, alone(path, calls), strict=True):
        wanted = variant.forward((call["parts"], call["mask"]))
        assert outputs.keys() == wanted.keys()
        assert all(torch.equal(outputs[name], wanted[name]) for name in wanted)


class Gray(nn.Module):
    """On images of one channel, which inductor may lay out wrongly where the batch's size is free."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv2d(1, 8, 3, padding=1), nn.Linear(8, 4)
        self.eval()

    def forward(self, image):
        return self.head(torch.relu(self.conv(image)).mean((2, 3)))


def test_a_model_of_gray_images_ships_with_the_bits_that_were_judged(tmp_path):
    generator = torch.Generator().manual_seed(0)
    data = [(torch.randn(16, 1, 8, 8, generator=generator), torch.arange(16) % 4) for _ in "abcd"]
    variant = built(Gray(), data[:2], data[2:])
    path = variant.export(tmp_path / "gray.pt2")
    calls = [{"image": x} for x, _ in data[:2]]
    for call, outputs in zip(calls, alone(path, calls), strict=True):
        assert torch.equal(outputs, variant.forward(call["image"]))
    page = json.loads(path.with_name("gray.pt2.json").read_text())
    told = any("takes inputs of just the sizes [16, 1, 8, 8]" in note for note in variant.notes)
    assert page["inputs"][0]["shape"] == [16 if told else None, 1, 8, 8]


def test_a_package_for_any_batch_that_is_wrong_is_compiled_for_one(cnn, tmp_path, monkeypatch):
    made = []
    package = Compiled.package

    def wrong_at_first(self, values, sizes, path):
        made.append(sizes)
        monkeypatch.setattr(package_shipment, "CHECK", other if len(made) == 1 else usual)
        package(self, values, sizes, path)

    usual = package_shipment.CHECK
    other = usual.replace("tree_leaves(outputs)", "tree_leaves(outputs + 1)")
    monkeypatch.setattr(Compiled, "package", wrong_at_first)
    notes = [*cnn.notes]
    path = cnn.export(tmp_path / "cnn.pt2")
    (told,) = cnn.notes[len(notes) :]
    x = images(1)[0][0]
    assert made == [[(None, 2, 6, 4)], [tuple(x.shape)]]
    assert f"takes inputs of just the sizes {[*x.shape]}" in told
    assert torch.equal(alone(path, [{"image": x}])[0], cnn.forward(x))


def test_other_bits_are_an_error_and_nothing_is_kept(cnn, package, tmp_path, monkeypatch):
    monkeypatch.setattr(Compiled, "package", lambda self, *_: shutil.copyfile(package, _[-1]))
    more = package_shipment.CHECK.replace("tree_leaves(outputs)", "tree_leaves(outputs + 1e-6)")
    monkeypatch.setattr(package_shipment, "CHECK", more)
    with pytest.raises(
        QuantStageError,
        match=r"gives other bits there than here, which keep \d+\.\d dB .* Nothing is",
    ):
        cnn.export(tmp_path / "dist" / "cnn.pt2")
    assert list((tmp_path / "dist").iterdir()) == []


def test_what_cannot_be_compiled_says_so(cnn, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", refuse)
    with pytest.raises(QuantStageError, match=r"AOTInductor could not compile .*no such kernel"):
        cnn.export(tmp_path / "cnn.pt2")


def test_another_suffix_is_refused(cnn, tmp_path):
    with pytest.raises(QuantStageError, match=r"give it the suffix \.pt2"):
        cnn.export(tmp_path / "cnn.onnx")
