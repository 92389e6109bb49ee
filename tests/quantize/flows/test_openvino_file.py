"""Flow openvino: an IR that NNCF has quantized on our calibration samples."""

import math

import numpy as np
import openvino
import pytest
import torch
from builders import ONE_THREAD
from exported import Cnn, images
from openvino import opset13 as opset
from torch import nn

from pytest_quant.errors import QuantStageError
from pytest_quant.explain import explain
from pytest_quant.explain.notes import notes_on
from pytest_quant.explain.remedies.candidates import cheap_candidates
from pytest_quant.measure.nearness import nearness
from pytest_quant.quantize.flows import openvino_file
from pytest_quant.runtimes.fp32_file import fp32_file
from pytest_quant.store.open import open_store
from pytest_quant.subject.subject import Subject
from pytest_quant.variant.recipe import Recipe


def built(model, data=None, **wishes):
    recipe = Recipe("static", flow="openvino", **wishes)
    given = {"eval_data": images(1), "calibration_data": images(2)}
    given |= {} if data is None else {"eval_data": data[:-1], "calibration_data": data[-1:]}
    return open_store(ONE_THREAD).variant(Subject(model, **given), recipe, "file")


def batches(model, *shape, count=3, make=torch.randn):
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(count):
        x = make(*shape, generator=generator)
        with torch.no_grad():
            found.append((x, model(x).argmax(1)))
    return found


@pytest.fixture(scope="module")
def cnn():
    return built(Cnn())


def test_all_layers_run_in_integers(cnn):
    assert cnn.model.path.suffix == ".xml"
    assert [path.suffix for path in cnn.model.files] == [".xml", ".bin"]
    assert cnn.int8_share.macs == 1.0
    assert nearness(cnn) > 20
    assert cnn.evaluation.values["top-1"] > 0.95
    assert cnn.recipe.flow == "openvino"


def test_the_recipe_says_how_many_samples_calibrate():
    few = built(Cnn(), calibration_samples=32)
    assert len(few.tuned_on) == 32
    with pytest.raises(QuantStageError, match="more than the 96 samples"):
        built(Cnn(), calibration_samples=97)


@pytest.mark.parametrize(("kept", "bits"), [("near", [32, 8, 8]), ("head", [8, 8, 32])])
def test_what_is_kept_fp32_runs_in_float(kept, bits):
    variant = built(Cnn(), keep_fp32=(kept,))
    assert sorted(kernel.bits for kernel in variant.model.kernels) == sorted(bits)
    wide = [kernel.weights for kernel in variant.model.kernels if kernel.is_wide]
    assert wide == [Cnn().get_submodule(kept).weight.numel()]


def test_it_is_exported_with_both_files(cnn, tmp_path):
    path = cnn.export(tmp_path / "dist" / "cnn.xml")
    assert sorted(each.name for each in path.parent.iterdir()) == [
        "cnn.bin",
        "cnn.xml",
        "cnn.xml.json",
    ]


def test_its_merit_is_known_beside_fp32_in_openvino(cnn):
    assert fp32_file(cnn).path.suffix == ".xml"


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.near, self.rnn = nn.Linear(8, 32), nn.LSTM(32, 32, batch_first=True)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        return self.head(self.rnn(torch.relu(self.near(x)))[0][:, -1])


def test_a_recurrent_layer_stays_float_and_exact():
    model = Recurrent().eval()
    variant = built(model, batches(model, 16, 10, 8))
    assert nearness(variant) > 20
    assert 0 < variant.int8_share.macs < 1


class Words(nn.Module):
    """Attention, with a name for each input."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(6)
        self.table = nn.Embedding(50, 32)
        self.block = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        self.head = nn.Linear(32, 4)

    def forward(self, ids, mask=None):
        x = self.block(self.table(ids))
        x = x if mask is None else x * mask[..., None]
        return self.head(x.mean(1))


def test_attention_with_inputs_by_name():
    model = Words().eval()

    def given(seed):
        ids = torch.randint(0, 50, (16, 9), generator=torch.Generator().manual_seed(seed))
        inputs = {"mask": (ids > 5).float(), "ids": ids}
        with torch.no_grad():
            return inputs | {"labels": model(**inputs).argmax(1)}

    variant = built(model, [given(seed) for seed in (1, 2, 3)])
    assert nearness(variant) > 20
    assert variant.int8_share.macs > 0.5


class Encoder(nn.Module):
    """Reads six vectors, one channel of which is far larger than the rest, as in trained transformers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(32, 4, 64, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 4)
        with torch.no_grad():
            for each in self.encoder.layers:
                each.norm1.weight[3] = each.norm2.weight[3] = 40.0
        self.eval()

    def forward(self, x):
        return self.head(self.encoder(x)[:, 0])


def test_attention_is_built_by_the_settings_that_are_nearer(monkeypatch):
    model = Encoder()
    data = batches(model, 16, 6, 32)
    own = built(model, data)
    assert own.int8_share.macs > 0.9
    monkeypatch.setattr(openvino_file, "_attends", lambda model: False)
    plain = built(model, data)
    assert nearness(own) > nearness(plain) + 3


def test_how_near_outputs_are_counts_all_calls():
    def made(scale):
        x = opset.parameter([2], np.float32)
        return openvino.Model([opset.multiply(x, np.float32(scale))], [x], "scaled")

    calls = [[np.array([3.0, 0.0], np.float32)], [np.array([0.0, 4.0], np.float32)]]
    near = openvino_file.nearness_of(made(1), [made(0.9), made(1), made(np.inf)], calls)
    assert near == [pytest.approx(20.0, abs=1e-4), math.inf, -math.inf]
    assert openvino_file.nearness_of(made(np.nan), [made(1)], calls) == [-math.inf]


class Chosen(nn.Module):
    """Ends in a softmax, which weighs nothing."""

    def __init__(self):
        super().__init__()
        self.cnn = Cnn()
        self.eval()

    def forward(self, image):
        return self.cnn(image).softmax(-1)


@pytest.mark.parametrize(
    ("model", "sizes", "attends"),
    [
        (Encoder(), (2, 6, 32), True),
        (Chosen(), (2, 2, 6, 4), False),
    ],
)
def test_attention_is_told_from_other_softmaxes(monkeypatch, model, sizes, attends):
    seen = []
    real = openvino_file._attends
    monkeypatch.setattr(openvino_file, "_attends", lambda ir: seen.append(real(ir)) or seen[-1])
    built(model, batches(model, *sizes))
    assert seen == [attends]


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"observer": "minmax"}, "NNCF decides observer itself"),
        ({"qscheme": "per_tensor_symmetric"}, "NNCF decides qscheme itself"),
        ({"equalize": True}, "NNCF decides equalize itself"),
        ({"per_channel": False}, "per_channel=True only"),
    ],
)
def test_what_nncf_decides_is_refused(wish, said):
    with pytest.raises(QuantStageError, match=said):
        built(Cnn(), **wish)


def test_without_calibration_data_it_says_which():
    subject = Subject(Cnn(), eval_data=images(1))
    with pytest.raises(QuantStageError, match="there is no calibration data"):
        open_store(ONE_THREAD).variant(subject, Recipe("static", flow="openvino"), "file")


def test_nothing_to_quantize():
    model = nn.Sequential(nn.ReLU(), nn.Flatten()).eval()
    with pytest.raises(QuantStageError, match="nothing to quantize"):
        built(model, batches(model, 8, 2, 2))


def test_without_nncf_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("pytest_quant.quantize.flows.openvino_file.find_spec", lambda name: None)
    with pytest.raises(QuantStageError, match=r"pip install 'pytest-quant\[nncf\]'"):
        built(Cnn())


def test_there_is_no_qat():
    with pytest.raises(ValueError, match="flow 'openvino' has no QAT"):
        Recipe("qat", flow="openvino")
    with pytest.raises(ValueError, match="has no dynamic quantization"):
        Recipe("dynamic", flow="openvino")


def test_what_nncf_decides_is_no_remedy(cnn):
    assert cheap_candidates(cnn.recipe, weights_first=False) == []
    assert not any("observer" in sentence for sentence in explain(cnn).sentences)


def test_weights_keep_to_7_bits_where_products_would_saturate(cnn, monkeypatch):
    monkeypatch.setattr("pytest_quant.explain.notes.must_reduce_range", lambda engine: True)
    assert any(note.startswith("weights keep to 7 bits") for note in notes_on(cnn))
