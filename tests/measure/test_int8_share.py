"""int8 share: parameters and multiply-adds counted by hand."""

import copy

import pytest
import torch
from builders import batches, tiny_linear, toy_variant, unquantized_variant

from pytest_quant import Recipe
from pytest_quant.measure.one_call import multiply_adds
from pytest_quant.variant.measurements import Int8Share

BATCH = 16
FIRST, SECOND, PARAMETERS = 8 * 16, 16 * 3, 8 * 16 + 16 + 16 * 3 + 3


class Convolutions(torch.nn.Module):
    """8 inputs as a 2 x 2 image of 2 channels."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 4, 2, padding=1, groups=2, bias=False)
        self.norm = torch.nn.BatchNorm2d(4)
        self.up = torch.nn.ConvTranspose2d(4, 2, 2, bias=False)
        self.fc = torch.nn.Linear(2 * 4 * 4, 3)

    def forward(self, x):
        x = self.norm(self.conv(x.view(-1, 2, 2, 2)))
        return self.fc(self.up(x).flatten(1))


class Recurrent(torch.nn.Module):
    """8 inputs as 4 steps of 2."""

    def __init__(self):
        super().__init__()
        self.lstm = torch.nn.LSTM(2, 5, batch_first=True)
        self.attention = torch.nn.MultiheadAttention(5, 1, batch_first=True)
        self.fc = torch.nn.Linear(5, 3)

    def forward(self, x):
        steps, _ = self.lstm(x.reshape(-1, 4, 2))
        seen, _ = self.attention(steps, steps, steps, need_weights=False)
        return self.fc(seen[:, -1])


def share_of(recipe, model=None):
    return toy_variant(recipe, model=model).int8_share


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_all_weights_but_no_bias_become_int8(kind):
    share = share_of(kind)
    assert share.parameters == (FIRST + SECOND) / PARAMETERS
    assert share.macs == 1.0
    assert share.stayed_fp32 == ()


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_a_layer_kept_fp32_is_named_and_not_counted(kind):
    share = share_of(Recipe(kind, keep_fp32="2"))
    assert share.parameters == FIRST / PARAMETERS
    assert share.macs == FIRST / (FIRST + SECOND)
    assert share.stayed_fp32 == ("2",)


def test_nothing_is_int8_where_nothing_was_quantized():
    assert unquantized_variant("static").int8_share == Int8Share(0.0, 0.0, ("0", "2"))


def test_fp32_itself_has_none():
    assert toy_variant().fp32.int8_share == Int8Share(0.0, 0.0, ("0", "2"))


def test_half_precision_is_fewer_bits_too():
    share = share_of(Recipe("custom", build=lambda module: Half(module)))
    assert share.parameters == 1.0


class Half(torch.nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module.bfloat16()

    def forward(self, x):
        return self.module(x.bfloat16()).float()


def test_of_a_callable_nothing_is_known():
    assert share_of(Recipe("custom", build=lambda module: lambda x: module(x))) == Int8Share(
        None, None, ()
    )


def test_a_folded_batch_norm_did_not_stay_fp32():
    model = Convolutions()
    share = share_of("static", model)
    weights = 4 * 1 * 4 + 4 * 2 * 4 + 32 * 3
    # PyTorch's int8 kernel of this one is wrong on CPUs with VNNI, and right on others
    assert share.stayed_fp32 in (("up",), ())
    in_int8 = weights - 32 * len(share.stayed_fp32)
    assert share.parameters == in_int8 / (weights + 2 * 4 + 3)


def test_dynamic_leaves_convolutions_fp32():
    share = share_of("dynamic", Convolutions())
    conv, up, fc = 4 * 3 * 3 * 4, 4 * 3 * 3 * 2 * 4, 32 * 3
    assert share.macs == fc / (conv + up + fc)
    assert share.stayed_fp32 == ("conv", "up")


def test_multiply_adds_of_convolutions_by_hand():
    assert multiply_adds(toy_variant("dynamic", model=Convolutions())) == {
        "conv": BATCH * (4 * 3 * 3) * (2 // 2) * (2 * 2),  # outputs x inputs of a group x kernel
        "up": BATCH * (4 * 3 * 3) * 2 * (2 * 2),  # inputs x outputs of a group x kernel
        "fc": BATCH * 32 * 3,
    }


def test_multiply_adds_of_recurrent_and_attention_layers_by_hand():
    steps = BATCH * 4
    assert multiply_adds(toy_variant("dynamic", model=Recurrent())) == {
        "lstm": steps * 4 * 5 * (2 + 5),  # four gates, from input and state
        "attention": steps * 3 * 5 * 5,  # without the scores and their sums, which have no weight
        "attention.out_proj": steps * 5 * 5,
        "fc": BATCH * 5 * 3,
    }


def test_counting_leaves_no_hooks_and_the_fast_path_as_it_was():
    variant = toy_variant("dynamic", model=Recurrent())
    multiply_adds(variant)
    assert torch.backends.mha.get_fastpath_enabled()
    assert not any(module._forward_hooks for module in variant.fp32.model.modules())


def test_counting_stops_at_the_first_batch():
    read = []

    class Data(list):
        def __iter__(self):
            read.append("pass")
            return super().__iter__()

    variant = toy_variant("dynamic", eval_data=Data(batches()))
    passes = len(read)
    assert variant.int8_share.macs == 1.0
    assert len(read) == passes


def test_it_is_plain_json():
    assert Int8Share(0.5, None, ("fc",)).to_dict() == {
        "parameters": 0.5,
        "macs": None,
        "stayed_fp32": ["fc"],
    }


def test_a_layer_that_fx_leaves_fp32_without_a_word_is_found():
    class Reshaped(torch.nn.Module):
        """FX observes no input that is reshaped first, so what follows stays FP32."""

        def __init__(self):
            super().__init__()
            self.first, self.second = torch.nn.Linear(8, 16), torch.nn.Linear(16, 3)

        def forward(self, x):
            return self.second(torch.relu(self.first(x.reshape(-1, 8))))

    share = share_of(Recipe("static", flow="fx"), Reshaped())
    assert share.stayed_fp32 == ("first",)
    assert share.macs == SECOND / (FIRST + SECOND)


class Within(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


def quantized_first(model, path):
    """The first Linear of two, in a copy of the model; the other one stays FP32."""
    made = copy.deepcopy(model)
    half = made.get_submodule(path) if path else made
    half[0] = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(half[0]))[0]
    return made


@pytest.mark.parametrize(
    ("model", "build", "stayed"),
    [
        (tiny_linear(), lambda model, **_: Within(quantized_first(model, "")), "2"),
        (tiny_linear(), lambda model, **_: Within(Within(quantized_first(model, ""))), "2"),
        (
            Within(tiny_linear()),
            lambda model, **_: quantized_first(model, "inner").inner,
            "inner.2",
        ),
        (
            Within(tiny_linear()),
            lambda model, **_: Within(quantized_first(model, "inner")),
            "inner.2",
        ),
        (Within(tiny_linear()), lambda model, **_: quantized_first(model, "inner"), "inner.2"),
    ],
    ids=["within", "twice within", "taken out", "within once more", "as it was"],
)
def test_layers_are_known_under_another_prefix(model, build, stayed):
    share = share_of(Recipe("custom", build=build), model)
    assert share.stayed_fp32 == (stayed,)
    assert share.macs == FIRST / (FIRST + SECOND)
