"""Paddings: convolutions that pad more than their int8 kernels can."""

import pytest
import torch
from builders import ONE_THREAD, kept_db, open_store, toy_subject
from torch import nn

from pytest_quant import Recipe, load_variant
from pytest_quant.quantize.flows.paddings import in_numbers

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")

SIZES = {1: (16,), 2: (8, 8), 3: (6, 6, 6)}
CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
KINDS = {
    "same": {"padding": "same"},
    "same, even kernel": {"padding": "same", "kernel_size": 4},
    "same, dilated": {"padding": "same", "dilation": 2},
    "same, even and dilated by 3": {"padding": "same", "kernel_size": 2, "dilation": 3},
    "same, grouped": {"padding": "same", "groups": 4},
    "valid": {"padding": "valid"},
    "replicate": {"padding": 1, "padding_mode": "replicate"},
    "circular": {"padding": 2, "padding_mode": "circular"},
    "reflect": {"padding": 2, "padding_mode": "reflect"},
    "circular and same": {"padding": "same", "padding_mode": "circular", "kernel_size": 2},
    "replicate and strided": {"padding": 1, "padding_mode": "replicate", "stride": 2},
}


def in_a_row(dims, **kind):
    """Such a convolution first, after a ReLU, and before a BatchNorm."""
    torch.manual_seed(0)
    layer = CONVOLUTIONS[dims]
    given = {"kernel_size": 3, **kind}
    first = {**given, "groups": 1}
    return nn.Sequential(
        layer(2, 8, **first),
        nn.ReLU(),
        layer(8, 8, **given),
        NORMS[dims](8),
        nn.Flatten(),
        nn.LazyLinear(3),
    )


class Residual(nn.Module):
    """Adds to a convolution's outputs its inputs, which must not be padded for it."""

    def __init__(self, dims, **kind):
        super().__init__()
        torch.manual_seed(0)
        given = {"kernel_size": 3, **kind}
        self.first = CONVOLUTIONS[dims](2, 8, 1)
        self.deep = CONVOLUTIONS[dims](8, 8, **given)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = torch.relu(self.first(x))
        return self.head((self.deep(x) + x).flatten(2).mean(2))


def subject_of(model, dims):
    x = torch.randn(32, 2, *SIZES[dims], generator=torch.Generator().manual_seed(1))
    model.train()
    for _ in range(100):  # so that BatchNorm's statistics are those that training finds
        model(x)
    model.eval()
    data = [(part, model(part).detach().argmax(1)) for part in x.split(16)]
    other = torch.randn(64, 2, *SIZES[dims], generator=torch.Generator().manual_seed(2))
    trained = [(part, model(part).detach().argmax(1)) for part in other.split(16)]
    return toy_subject(model, eval_data=data, calibration_data=other.split(16), train_data=trained)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_fx_takes_every_padding(kind, dims):
    if dims == 3 and kind.get("padding_mode") == "reflect":
        dims = 1
    static = open_store(ONE_THREAD).variant(
        subject_of(in_a_row(dims, **kind), dims), Recipe("static", flow="fx")
    )
    assert kept_db(static) > 20
    assert not static.int8_share.stayed_fp32


@pytest.mark.parametrize("kind", ["same, even kernel", "circular"])
@pytest.mark.parametrize(
    "recipe", [Recipe("qat", flow="fx", lr=1e-6), Recipe("static", flow="parts")]
)
def test_qat_and_parts_do_so_too(kind, recipe):
    subject = subject_of(in_a_row(2, **KINDS[kind]), 2)
    assert kept_db(open_store(ONE_THREAD).variant(subject, recipe)) > 20


@pytest.mark.parametrize("kind", [{"padding": "same"}, {"padding": 1, "padding_mode": "replicate"}])
def test_what_else_uses_the_inputs_gets_them_unpadded(kind, tmp_path):
    subject = subject_of(Residual(2, **kind), 2)
    static = open_store(ONE_THREAD).variant(subject, Recipe("static", flow="fx"))
    assert kept_db(static) > 25
    assert not static.int8_share.stayed_fp32
    loaded = load_variant(static.save(tmp_path / "padded.pt"), Residual(2, **kind))
    x = subject.eval_data[0][0]
    assert torch.equal(loaded.model(x), static(x))


def test_a_layer_with_such_a_padding_that_is_kept_fp32_pads_itself():
    subject = subject_of(Residual(2, padding=1, padding_mode="circular"), 2)
    recipe = Recipe("static", flow="fx", keep_fp32=("deep",))
    static = open_store(ONE_THREAD).variant(subject, recipe)
    assert kept_db(static) > 25
    assert static.int8_share.stayed_fp32 == ("deep",)


class Stubbed(nn.Module):
    def __init__(self, **kind):
        super().__init__()
        self.quant, self.dequant = (
            torch.ao.quantization.QuantStub(),
            torch.ao.quantization.DeQuantStub(),
        )
        self.body = in_a_row(2, **kind)

    def forward(self, x):
        return self.dequant(self.body(self.quant(x)))


@pytest.mark.parametrize("kind", ["same, even kernel", "circular", "same"])
@pytest.mark.parametrize(
    "recipe",
    [Recipe("static", flow="eager"), Recipe("qat", flow="eager", lr=1e-6)],
    ids=["static", "qat"],
)
def test_eager_mode_takes_them(kind, recipe):
    subject = subject_of(Stubbed(**KINDS[kind]), 2)
    variant = open_store(ONE_THREAD).variant(subject, recipe)
    assert kept_db(variant) > 15
    assert not variant.int8_share.stayed_fp32


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_padding_in_numbers_computes_what_the_model_did(kind):
    model = in_a_row(2, **kind).eval()
    x = torch.randn(4, 2, 8, 8)
    before = model(x)
    in_numbers(model)
    assert torch.equal(model(x), before)


@pytest.mark.parametrize("kind", ["same, even kernel", "circular"])
def test_an_exported_convolution_keeps_its_int8_kernel(kind):
    static = open_store(ONE_THREAD).variant(
        subject_of(in_a_row(2, **KINDS[kind]), 2), Recipe("static", flow="pt2e")
    )
    assert kept_db(static) > 25
    assert not static.int8_share.stayed_fp32
