"""PT2E with QAT: what is trained, what stands still, and what is left of it in the compiled graph."""

import pytest
import torch
import torch.nn.functional as F
from quantizable import (
    CONV,
    FC,
    PARAMETERS,
    TUNING,
    Convolutional,
    Two,
    built,
    decibels,
    decibels_of_conversion,
    images,
    made,
    nudge,
    numbers,
)
from torch import nn
from torchao.quantization.pt2e import qat_utils

from pytest_quant import Recipe
from pytest_quant.quantize.flows.exported import set_training

QAT = Recipe("qat", flow="pt2e")
EPS = 1e-3


class Dropping(Two):
    """Each kind of dropout, all of them harsh."""

    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.attention = nn.MultiheadAttention(16, 2, dropout=0.5, batch_first=True)

    def forward(self, x):
        x = self.drop(self.hidden(x))[:, None].expand(-1, 3, -1)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        x = F.scaled_dot_product_attention(x, x, x, dropout_p=0.5 if self.training else 0.0)
        return self.last(F.dropout(x.mean(1), 0.5, self.training))


@pytest.fixture(scope="module", autouse=True)
def of_convolutions_only_conv2d():
    """To find norms behind convolutions, torchao exports 108 graphs for each model, which takes 20 seconds;
    three quarters of them are of convolutions that no model here has."""

    def for_conv2d(helper):
        def with_less(graph, convolution, *args, **kwargs):
            if convolution is not F.conv2d:
                return graph
            return helper(graph, convolution, *args, **kwargs)

        return with_less

    with pytest.MonkeyPatch.context() as patch:
        for name in ("_fuse_conv_bn_qat_helper", "_fold_conv_bn_qat_helper"):
            patch.setattr(qat_utils, name, for_conv2d(getattr(qat_utils, name)))
        yield


@pytest.fixture(scope="module")
def dropping():
    """A model with dropout, trained by a loop that looks on."""
    seen = {}

    @torch.no_grad()
    def train(model):
        for x, _ in numbers(3, TUNING):
            model(x)
        x = torch.ones(64, 8)
        seen["rows differ in training"] = float(model(x).std(0).max())
        seen["they do so in eval mode"] = float(model.eval()(x).std(0).max())
        model.train()
        nudge(model)

    return built(made(Dropping), QAT, numbers, train=train), seen


@pytest.fixture(scope="module")
def convolutional():
    """A trained model with a norm whose epsilon is not the default; norms and observers froze."""
    return built(made(Convolutional, eps=EPS), QAT)


def literals(graph, target, place):
    return [node.args[place] for node in graph.graph.nodes if node.target is target]


def test_dropout_is_on_in_training_and_off_after_it(dropping):
    variant, seen = dropping
    assert seen["rows differ in training"] > 0.01
    assert seen["they do so in eval mode"] < 1e-6
    x = torch.randn(8, 8)
    for model in (variant.model, variant.fake_quantized):
        with variant.running():
            assert torch.equal(model(x), model(x))
    assert decibels(variant) > 20
    assert decibels_of_conversion(variant) > 20


def test_train_and_eval_switch_the_rates_back_and_forth(dropping):
    graph = dropping[0].fake_quantized.graph
    aten = torch.ops.aten
    attention = aten.scaled_dot_product_attention.default
    for training in (True, False, True):
        set_training(graph, batchnorm=training, dropout=training)
        assert set(literals(graph, aten.dropout.default, 2)) == {training}
        assert set(literals(graph, attention, 4)) == {0.5 * training}
        assert set(literals(graph, aten.dropout.default, 1)) == {0.5}
    set_training(graph, batchnorm=False, dropout=False)


@pytest.mark.slow
def test_the_converted_model_computes_what_the_fake_quantized_one_does(convolutional):
    assert decibels_of_conversion(convolutional) > 25
    assert decibels(convolutional) > 10
    share = convolutional.int8_share
    assert share.parameters == (CONV + FC) / PARAMETERS
    assert (share.macs, share.stayed_fp32) == (1.0, ())


@pytest.mark.slow
def test_a_norm_keeps_its_own_epsilon(convolutional):
    target = torch.ops.aten.batch_norm.default
    graph = convolutional.fake_quantized.graph
    assert set(literals(graph, target, 7)) == {EPS}
    assert set(literals(graph, target, 6)) == {0.1}


@pytest.mark.slow
def test_a_small_variance_shows_a_wrong_epsilon():
    """With PyTorch's 1e-5 for the model's 1e-3, each channel would be off by tens of per cent."""
    model = made(Convolutional, eps=EPS)
    with torch.no_grad():
        model.conv.weight.mul_(0.01)
        model.conv.bias.zero_()
        model.norm.running_mean.zero_()
        model.norm.running_var.fill_(1e-3)
    frozen = []

    def train(prepared):
        prepared.freeze_bn_stats()
        for x, _ in images(3, TUNING):
            prepared(x)
        nudge(prepared)
        frozen.extend(literals(prepared.graph, torch.ops.aten.batch_norm.default, 5))

    variant = built(model, QAT, train=train)
    assert not any(frozen)
    assert decibels_of_conversion(variant) > 25
    assert decibels(variant) > 25


@pytest.mark.slow
def test_batches_of_other_sizes_are_trained_on(convolutional):
    x = images(8, (21,))[0][0]
    assert convolutional(x).shape == (21, 5)
    assert convolutional.fake_quantized(x[:3]).shape == (3, 5)
