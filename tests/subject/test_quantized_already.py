"""Quantized already: what has no FP32 weights any more, or observers in it, is no model to start from."""

import pytest
import torch
from builders import ONE_THREAD, open_store, tiny_linear, toy_subject
from torch import nn
from torch.ao import quantization as ao
from torch.ao.quantization import quantize_fx

from pytest_quant import Recipe
from pytest_quant.errors import QuantStageError
from pytest_quant.subject.fp32_copy import fp32_copy

pytestmark = pytest.mark.filterwarnings(
    "ignore"
)  # of PyTorch's eager mode, and of torchao's import

X = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))


def stubbed(qconfig, model):
    made = nn.Sequential(ao.QuantStub(), *model, ao.DeQuantStub()).train(model.training)
    made.qconfig = qconfig
    return made


def head_alone(model):
    """Only the last layer is quantized."""
    model[2] = ao.quantize_dynamic(nn.Sequential(model[2]), {nn.Linear})[0]
    return model


def static_eager(model):
    prepared = ao.prepare(stubbed(ao.get_default_qconfig("x86"), model))
    prepared(X)
    return ao.convert(prepared)


def prepared_fx(model):
    return quantize_fx.prepare_fx(model, ao.get_default_qconfig_mapping("x86"), (X,))


def trained_fx(model):
    mapping = ao.get_default_qat_qconfig_mapping("x86")
    return quantize_fx.prepare_qat_fx(model.train(), mapping, (X,)).eval()


def embedding(model):
    table = nn.Sequential(nn.Embedding(10, 8))
    table[0].qconfig = ao.float_qparams_weight_only_qconfig
    return nn.Sequential(*ao.convert(ao.prepare(table)), *model)


def weight_as(dtype):
    def made(model):
        values = model[2].weight.detach().to(dtype)
        model[2].weight = nn.Parameter(values, requires_grad=False)
        return model

    return made


def with_buffer(name, dtype):
    def made(model):
        model[2].register_buffer(name, torch.ones(3, 16, dtype=dtype))
        return model

    return made


def packed_by_hand(model):
    integers = torch.quantize_per_tensor(model[2].weight.detach(), 0.1, 0, torch.qint8)
    model.packed = torch.ops.quantized.linear_prepack(integers, None)
    return model


def by_torchao(model):
    torchao = pytest.importorskip("torchao.quantization")
    torchao.quantize_(model, torchao.Int8WeightOnlyConfig())
    return model


def trained_by_torchao(model):
    qat = pytest.importorskip("torchao.quantization.qat")
    weights = qat.IntxFakeQuantizeConfig(torch.int8, "per_channel")
    return nn.Sequential(*model[:2], qat.FakeQuantizedLinear(16, 3, weight_config=weights))


@pytest.mark.parametrize(
    ("made", "which"),
    [
        (lambda m: ao.quantize_dynamic(m, {nn.Linear}), r"module 0 \(Linear of torch\.ao\.nn\."),
        (lambda m: ao.quantize_dynamic(m, dtype=torch.float16), r"module 0 \(Linear of torch\.ao"),
        (head_alone, r"module 2 \(Linear of torch\.ao\.nn\.quantized\.dynamic\)"),
        (static_eager, r"module 0 \(Quantize of torch\.ao\.nn\.quantized\)"),
        (lambda m: quantize_fx.convert_fx(prepared_fx(m)), r"module 0 \(LinearReLU of .*intrinsic"),
        (lambda m: quantize_fx.convert_to_reference_fx(prepared_fx(m)), r"module 0.*reference\)"),
        (embedding, r"module 0 \(Embedding of torch\.ao\.nn\.quantized\)"),
        (packed_by_hand, r"packed \(packed weights\) of the whole \(Sequential\)"),
        (weight_as(torch.int8), r"weight \(int8\) of module 2 \(Linear\)"),
        (weight_as(torch.float8_e4m3fn), r"weight \(float8_e4m3fn\) of module 2 \(Linear\)"),
        (with_buffer("qweight", torch.int32), r"qweight \(int32\) of module 2 \(Linear\)"),
        (by_torchao, r"weight \(Int8Tensor of torchao\) of module 0 \(Linear\)"),
    ],
)
def test_a_model_that_is_quantized_already_is_refused_by_its_first_part(made, which):
    with pytest.raises(QuantStageError, match=rf"quantized already, .*: {which}.*the FP32 model"):
        fp32_copy(made(tiny_linear()))


@pytest.mark.parametrize(
    ("made", "which"),
    [
        (prepared_fx, r"activation_post_process_0 \(HistogramObserver\)"),
        (trained_fx, r"activation_post_process_0 \(Fused.*FakeQuantize\)"),
        (lambda m: ao.prepare(stubbed(ao.get_default_qconfig("x86"), m)), r"\(HistogramObserver\)"),
        (
            lambda m: ao.prepare_qat(stubbed(ao.get_default_qat_qconfig("x86"), m.train())),
            r"\(Fused.*FakeQuantize\)",
        ),
        (lambda m: nn.Sequential(m, ao.FakeQuantize()), r"module 1 \(FakeQuantize\)"),
        (trained_by_torchao, r"module 2\.weight_fake_quantizer \(IntxFakeQuantizer\)"),
    ],
)
def test_a_model_that_is_prepared_already_is_refused_by_its_first_observer(made, which):
    with pytest.raises(QuantStageError, match=rf"prepared for quantization already: .*{which}"):
        fp32_copy(made(tiny_linear()))


@pytest.mark.parametrize("kind", ["static", "dynamic", "qat"])
def test_a_partly_quantized_model_is_refused_before_anything_is_built(kind):
    with pytest.raises(QuantStageError, match="fixture ERROR: quant_model is quantized already"):
        open_store(ONE_THREAD).variant(toy_subject(head_alone(tiny_linear())), Recipe(kind))


@pytest.mark.parametrize(
    "made",
    [
        lambda m: stubbed(ao.get_default_qconfig("x86"), m),
        lambda m: nn.ModuleList([m, nn.quantized.FloatFunctional()]),
        lambda m: nn.ModuleList([m, nn.quantizable.LSTM(8, 4)]),
        with_buffer("table", torch.int8),
        with_buffer("weight_mask", torch.bool),
        with_buffer("places", torch.uint8),
        lambda m: m.half(),
    ],
)
def test_float_models_with_stubs_tables_and_masks_are_fp32(made):
    fp32_copy(made(tiny_linear()))


class Holding(nn.Module):
    def __init__(self, name, value, parameter=False):
        super().__init__()
        self.body = tiny_linear()
        if parameter:
            self.register_parameter(name, nn.Parameter(value, requires_grad=False))
        else:
            self.register_buffer(name, value)

    def forward(self, x):
        return self.body(x)


@pytest.mark.parametrize(
    ("name", "value", "parameter"),
    [
        ("mask", torch.tril(torch.ones(8, 8, dtype=torch.uint8)), True),
        ("weight_mask", torch.ones(8, 8, dtype=torch.uint8), False),
        ("weight_index", torch.arange(16, dtype=torch.int32).view(4, 4), False),
        ("palette", torch.arange(16, dtype=torch.uint8).view(4, 4), True),
    ],
)
def test_tables_and_masks_are_no_quantized_weights(name, value, parameter):
    open_store(ONE_THREAD).fp32(toy_subject(Holding(name, value, parameter).eval()))


@pytest.mark.parametrize("name", ["weight", "qweight", "packed_weight", "weight_int8"])
def test_integers_that_are_called_weights_are(name):
    value = torch.arange(16, dtype=torch.int8).view(4, 4)
    with pytest.raises(QuantStageError, match=f"quantized already.*{name}"):
        open_store(ONE_THREAD).fp32(toy_subject(Holding(name, value).eval()))
