"""Dynamic quantization in flow onnx: a file whose activations are quantized as they come."""

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


class Texts(nn.Module):
    """A table, attention, a recurrent layer, and Linear layers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.table = nn.Embedding(200, 32)
        self.block = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        self.rnn = nn.LSTM(32, 48, batch_first=True, bidirectional=True)
        self.head = nn.Linear(96, 4)

    def forward(self, ids):
        x, _ = self.rnn(self.block(self.table(ids)))
        return self.head(x[:, -1])


def texts(model, lengths=(12, 12)):
    found = []
    for length in lengths:
        ids = torch.randint(0, 200, (8, length), generator=torch.Generator().manual_seed(length))
        with torch.no_grad():
            found.append((ids, model(ids).argmax(1)))
    return found


def built(model, data, **wishes):
    recipe = Recipe("dynamic", flow="onnx", **wishes)
    return open_store(ONE_THREAD).variant(Subject(model, eval_data=data), recipe, "file")


@pytest.fixture(scope="module")
def whole():
    model = Texts().eval()
    return built(model, texts(model))


def test_linear_attention_lstm_and_tables_are_taken(whole):
    assert isinstance(whole.model, Artefact)
    assert whole.recipe.flow == "onnx"
    assert {k.op for k in whole.model.kernels if k.is_narrow} >= {"DynamicQuantizeLSTM", "Gather"}
    assert whole.int8_share.parameters > 0.95
    assert whole.int8_share.macs > 0.9  # the rest are products of two activations
    assert nearness(whole) > 25


class Bag(nn.Module):
    """Attention and Linear layers, which take texts of any length."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(4)
        self.table = nn.Embedding(200, 32)
        self.block = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        self.head = nn.Linear(32, 4)

    def forward(self, ids):
        return self.head(self.block(self.table(ids)).mean(1))


def test_texts_of_other_lengths_are_evaluated():
    model = Bag().eval()
    variant = built(model, texts(model, (12, 9, 7)))
    assert len(variant.evaluation) == 24
    assert variant.evaluation.values["top-1"] > 0.9


def test_an_lstm_takes_texts_of_one_length_and_says_so():
    model = Texts().eval()
    with pytest.raises(
        QuantStageError, match=r"\[any, 12\] int64, and the model is given \[8, 7\]"
    ):
        _ = built(model, texts(model, (12, 7))).evaluation


def test_weights_are_stored_in_8_bits():
    model = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 4)).eval()
    x = torch.randn(16, 64)
    variant = built(model, [(x, model(x).argmax(1))])
    assert variant.size.tensor_bytes < 1.5 * sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("kept", "wide"),
    [
        (("head",), {"head"}),
        (("block.linear*",), {"block.linear1", "block.linear2"}),
        ((nn.LSTM,), {"rnn"}),
        (("block.self_attn.out_proj",), {"block.self_attn.out_proj"}),
        (("table",), {"table"}),
    ],
)
def test_what_is_kept_fp32_runs_in_float(kept, wide):
    model = Texts().eval()
    variant = built(model, texts(model), keep_fp32=kept)
    floats = sum(kernel.weights for kernel in variant.model.kernels if kernel.is_wide)
    layers = [model.get_submodule(name) for name in wide]
    weights = [p for layer in layers for n, p in layer.named_parameters() if "bias" not in n]
    assert floats == sum(p.numel() for p in weights)


def test_convolutions_alone_have_nothing_to_quantize():
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten()).eval()
    with pytest.raises(QuantStageError, match="Static quantization also covers convolutions"):
        built(model, images(1))


def test_convolutions_stay_float_beside_linear():
    variant = built(Cnn(), images(1))
    assert {k.op for k in variant.model.kernels if k.is_narrow} <= {
        "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul",
    }  # fmt: skip
    assert 0 < variant.int8_share.macs < 1


def test_all_kept_has_nothing_to_quantize():
    with pytest.raises(QuantStageError, match="none of them outside keep_fp32"):
        built(Cnn(), images(1), keep_fp32=(nn.Linear, nn.Conv2d))


def test_without_the_exporter_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("pytest_quant.quantize.flows.onnx_file.find_spec", lambda name: None)
    with pytest.raises(QuantStageError, match=r"pip install 'pytest-quant\[onnx\]'"):
        built(Cnn(), images(1))


def test_what_cannot_be_exported_is_refused_with_its_reason():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            return self.fc(x) if x.sum() > 0 else self.fc(-x)

    x = torch.rand(8, 4)
    with pytest.raises(QuantStageError, match="could not export quant_model"):
        built(Branches().eval(), [(x, torch.zeros(8, dtype=torch.int64))])
