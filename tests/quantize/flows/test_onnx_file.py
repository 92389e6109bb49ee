"""Flow onnx: what FX observed, as a file that ONNX Runtime runs in integers."""

import copy

import pytest
import torch
from builders import ONE_THREAD
from exported import Cnn, images
from torch import nn

from pytest_quant.errors import QuantStageError
from pytest_quant.measure.nearness import nearness
from pytest_quant.runtimes.artefact import Artefact
from pytest_quant.store.open import open_store
from pytest_quant.subject.subject import Subject
from pytest_quant.variant.recipe import Recipe


def built(model, recipe="static", *, data=None, **parts):
    recipe = Recipe(recipe, flow="onnx") if isinstance(recipe, str) else recipe
    given = {"eval_data": images(1), "calibration_data": images(2), "train_data": images(3)} | parts
    given |= {} if data is None else {"eval_data": data[:-1], "calibration_data": data[-1:]}
    return open_store(ONE_THREAD).variant(Subject(model, **given), recipe, "onnx")


def batches(model, *shape, make=torch.randn, count=3):
    """Batches of random inputs with the model's own classes."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(count):
        x = make(*shape, generator=generator)
        with torch.no_grad():
            outputs = model(x)
        found.append((x, (outputs["logits"] if isinstance(outputs, dict) else outputs).argmax(1)))
    return found


@pytest.mark.parametrize("kind", ["static", "qat"])
def test_convolutions_and_linear_run_in_integers(kind):
    variant = built(Cnn(), kind)
    assert isinstance(variant.model, Artefact)
    assert variant.recipe.flow == "onnx"
    assert {kernel.op for kernel in variant.model.kernels} == {"QLinearConv", "QGemm"}
    assert variant.int8_share.macs == 1.0
    assert nearness(variant) > 20
    assert variant.evaluation.values["top-1"] > 0.95
    assert variant.size.tensor_bytes == sum(f.stat().st_size for f in variant.model.files)


def test_weights_are_stored_in_8_bits():
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 512), nn.ReLU(), nn.Linear(512, 4)).eval()
    variant = built(model, data=batches(model, 16, 2, 6, 4))
    parameters = sum(p.numel() for p in model.parameters())
    assert variant.size.tensor_bytes < 1.5 * parameters  # 4 bytes each where they are float


def test_what_is_kept_fp32_runs_in_float():
    variant = built(Cnn(), Recipe("static", flow="onnx", keep_fp32=("far",)))
    assert [kernel.bits for kernel in variant.model.kernels] == [8, 32, 8]
    assert nearness(variant) > 20


def test_one_scale_for_a_weight_where_the_recipe_says_so():
    variant = built(Cnn(), Recipe("static", flow="onnx", per_channel=False))
    assert variant.int8_share.macs == 1.0
    assert nearness(variant) > 15


class Normed(nn.Module):
    """BatchNorm, ReLU6, a residual, dropout and a mean, with a dict that comes out."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.one = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU6())
        self.two = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8))
        self.drop, self.head = nn.Dropout(0.5), nn.Linear(8, 4)
        for _ in range(20):
            self.two(self.one(torch.randn(16, 2, 6, 4)))
        self.eval()

    def forward(self, image):
        x = self.one(image)
        x = torch.nn.functional.relu(x + self.two(x)).mean((2, 3))
        return {"logits": self.head(self.drop(x)), "pooled": x}


def top_1(outputs, targets):
    return (outputs["logits"].argmax(1) == targets).float()


def test_normalization_is_folded_and_a_dict_stays_a_dict():
    model = Normed()
    variant = built(model, data=batches(model, 16, 2, 6, 4), metric=top_1)
    assert variant.int8_share.macs == 1.0
    assert list(variant.forward(torch.randn(3, 2, 6, 4))) == ["logits", "pooled"]
    assert nearness(variant) > 20


def test_a_batch_of_one_becomes_a_file_for_any_number():
    model = Cnn()
    variant = built(model, data=batches(model, 1, 2, 6, 4, count=40))
    assert variant.model.fit.batch is None
    assert variant.forward(torch.randn(5, 2, 6, 4)).shape == (5, 4)


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.table, self.head = nn.Embedding(50, 16), nn.Linear(16, 4)

    def forward(self, ids, mask=None):
        x = self.table(ids)
        x = x if mask is None else x * mask[..., None]
        return self.head(x.mean(1))


def test_words_of_other_lengths_go_in_by_name():
    model = Words().eval()

    def given(length):
        ids = torch.randint(0, 50, (8, length), generator=torch.Generator().manual_seed(length))
        inputs = {"mask": (ids > 5).float(), "ids": ids}  # whatever the order of forward
        with torch.no_grad():
            return inputs | {"labels": model(**inputs).argmax(1)}

    data = [given(length) for length in (12, 7, 9, 8)]
    variant = built(model, data=data)
    assert [port.name for port in variant.model.fit.inputs] == ["ids", "mask"]
    assert len(variant.evaluation) == 24
    assert nearness(variant) > 10  # 8 samples of one length calibrate it


def test_a_copy_keeps_the_file_until_the_last_one_is_gone():
    variant = built(Cnn())
    path, x = variant.model.path, images(1)[0][0]
    copied = copy.deepcopy(variant.model)
    expected = variant.forward(x)
    del variant
    assert torch.equal(copied(x), expected)
    assert path.is_file()
    del copied
    assert not path.exists()


def test_it_is_exported_and_not_saved():
    with pytest.raises(QuantStageError, match="is a file already"):
        built(Cnn()).save("anywhere.pt")


def test_without_the_exporter_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("pytest_quant.quantize.flows.onnx_file.find_spec", lambda name: None)
    with pytest.raises(QuantStageError, match=r"pip install 'pytest-quant\[onnx\]'"):
        built(Cnn())


def test_auto_never_takes_it():
    variant = built(Cnn(), Recipe("static"))
    assert variant.recipe.flow == "fx"


@pytest.mark.parametrize("kind", ["weight_only", "cast"])
def test_other_kinds_have_no_such_flow(kind):
    with pytest.raises(ValueError, match="does not apply to kind"):
        Recipe(kind, flow="onnx")
