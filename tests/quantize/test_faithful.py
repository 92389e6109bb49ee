"""What a flow has made of a model is still that model, before and after conversion; else another flow
takes it, or the layer at fault stays FP32."""

import pytest
import torch
import torch.nn.functional as F
from builders import ONE_THREAD, toy_variant
from quantizable import Convolutional, Two, built, decibels, images, made, numbers
from torch import nn
from torchvision.ops import StochasticDepth

from pytest_quant import Metric, QuantStageError, Recipe, Subject, load_variant
from pytest_quant.machine.cpu import has_vnni
from pytest_quant.quantize.flows import fx
from pytest_quant.store.open import open_store
from pytest_quant.variant.sqnr import sqnr

STATIC, QAT = Recipe("static"), Recipe("qat", epochs=1)


class TwoWays(nn.Module):
    """One layer, with a ReLU behind it and without: FX fuses the ReLU into both."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.head, self.relu = nn.Linear(8, 8), nn.Linear(8, 3), nn.ReLU()

    def forward(self, x):
        return self.head(self.relu(self.layer(x)) - self.layer(x))


@pytest.mark.parametrize("kind", ["static", "qat"])
def test_fx_is_refused_where_it_gives_a_layer_a_relu_that_it_has_not(kind):
    with pytest.raises(QuantStageError, match="flow fx computes something else than quant_model"):
        toy_variant(Recipe(kind, flow="fx"), model=TwoWays().eval(), train_data=[])


def test_another_flow_takes_it_and_the_report_says_why():
    variant = toy_variant(Recipe("static", flow="auto"), model=TwoWays().eval())
    assert variant.recipe.flow in ("pt2e", "parts")
    assert any("fx computes something else" in note for note in variant.notes)
    x = variant.admitted.first_inputs
    with torch.no_grad():
        assert sqnr(variant.fp32.model(x), variant(x)) > 25


class Between(nn.Module):
    """Two convolutions on [n, 3, 12, 12], and between them what `between` does with the first one's
    outputs [n, 8, 12, 12]."""

    def __init__(self, between, *layers):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.LazyConv2d(5, 3)
        self.layers = nn.ModuleList(layers)
        self.between = between
        self.forward(torch.zeros(2, 3, 12, 12))

    def forward(self, x):
        return self.last(self.between(self.first(x), *self.layers)).flatten(1)


def between(what, *layers):
    return made(lambda: Between(what, *[make() for make in layers]))


def steep_prelu():
    layer = nn.PReLU(8)
    nn.init.uniform_(layer.weight, -1, 1)
    return layer


def with_statistics(kind):
    layer = kind(8, affine=True, track_running_stats=True)
    layer.running_mean.uniform_(-1, 1)
    layer.running_var.uniform_(0.2, 3)
    return layer


def upsampling(groups=1):
    return nn.ConvTranspose2d(8, 4, 2, stride=2, groups=groups)


def in_place_chain(y):
    y = y.relu_()
    y += 1
    y.mul_(2).add_(y)
    return y


def half_of_the_channels(y):
    y = y.relu()
    y[:, ::2] *= 0.5
    return y


CHAINS = {  # what PyTorch converts to another model in one flow at least
    "PReLU": (lambda y, layer: layer(y), steep_prelu),
    "F.prelu": (lambda y, layer: F.prelu(y, layer.weight), steep_prelu),
    "InstanceNorm2d with statistics": (
        lambda y, layer: layer(y),
        lambda: with_statistics(nn.InstanceNorm2d),
    ),
    "F.instance_norm": (lambda y: F.instance_norm(y).relu(),),
    "GroupNorm and sigmoid": (lambda y, layer: layer(y).sigmoid(), lambda: nn.GroupNorm(2, 8)),
    "swish by hand": (lambda y, layer: layer(y) * layer(y).sigmoid(), lambda: nn.GroupNorm(2, 8)),
    "GroupNorm and tanh": (lambda y, layer: torch.tanh(layer(y)), lambda: nn.GroupNorm(2, 8)),
    "transposed convolution": (lambda y, layer: layer(y), upsampling),
    "grouped transposed convolution": (lambda y, layer: layer(y), lambda: upsampling(2)),
    "a number times and plus": (lambda y: 2 * y + 0.5 - y,),
    "in-place chain": (in_place_chain,),
    "slice in place": (half_of_the_channels,),
}
COMPILED = (
    "GroupNorm",
    "swish",
    "in-place",
    "slice",
)  # where auto comes to pt2e, which takes seconds
CHAIN_PARAMETERS = [
    pytest.param(*chain, id=name, marks=[pytest.mark.slow] * name.startswith(COMPILED))
    for name, chain in ((name, (chain[0], chain[1:])) for name, chain in CHAINS.items())
]


def chain_images(count, seed):
    return torch.randn(count, 3, 12, 12, generator=torch.Generator().manual_seed(seed))


def variant_of(model, recipe=STATIC, batch=16):
    targets = torch.arange(64) % 5
    data = [*zip(chain_images(64, 1).split(batch), targets.split(batch), strict=True)]
    training = [*zip(chain_images(64, 2).split(16), targets.split(16), strict=True)]
    subject = Subject(model, eval_data=data, train_data=training)
    return open_store(ONE_THREAD).variant(subject, recipe)


@pytest.mark.parametrize(("what", "layers"), CHAIN_PARAMETERS)
def test_what_is_built_is_the_same_model_whatever_lies_between_two_layers(what, layers):
    variant = variant_of(between(what, *layers))
    assert decibels(variant) > 25
    assert variant.int8_share.parameters > 0.5


@pytest.mark.skipif(not has_vnni(), reason="this kernel is right on CPUs without VNNI")
def test_the_layer_whose_kernel_is_wrong_stays_fp32_and_is_named():
    """PyTorch's int8 kernel of a transposed convolution with stride 2 and kernel 2, engine x86."""
    recipe = Recipe("static", flow="fx")
    variant = variant_of(between(lambda y, layer: layer(y), upsampling), recipe)
    assert variant.recipe.keep_fp32 == ("layers.0",)
    assert (
        "layers.0 (ConvTranspose2d) stayed FP32, since its int8 kernel computes something else"
        in variant.notes
    )
    assert variant.name == recipe.label


def test_a_function_at_fault_is_named_and_the_flow_refused():
    class OutOfStep(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Linear(8, 16), nn.Linear(16, 3)

        def forward(self, x):
            return self.head(in_place_chain(self.body(x)))

    with pytest.raises(
        QuantStageError, match=r"flow fx computes something else than quant_model at .*dB"
    ):
        toy_variant(Recipe("static", flow="fx"), model=made(OutOfStep))


def test_a_fixed_range_that_does_not_hold_the_values_is_refused_by_name():
    what, norm = CHAINS["GroupNorm and sigmoid"]
    with pytest.raises(
        QuantStageError, match=r"flow fx gives layers\.0 \(\w+\) a range that does not hold"
    ):
        variant_of(between(what, norm), Recipe("static", flow="fx"))


def test_instance_norm_is_right_in_large_batches_too():
    variant = variant_of(between(lambda y, layer: layer(y), lambda: nn.InstanceNorm2d(8)), batch=64)
    assert decibels(variant) > 25


@pytest.mark.parametrize("count", [1, 64])
def test_a_kernel_that_is_wrong_in_one_batch_size_alone_is_found(count, monkeypatch):
    """As PyTorch's InstanceNorm is from 64 samples; planted behind the conversion."""
    real = fx.convert

    class Wrong(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x) * (0.5 if len(x) == count else 1.0)

    monkeypatch.setattr(fx, "convert", lambda prepared, example: Wrong(real(prepared, example)))
    with pytest.raises(QuantStageError, match=f"in a batch of {count} the int8 kernels are"):
        variant_of(between(torch.relu), Recipe("static", flow="fx"), batch=64)


def test_what_follows_the_last_layer_stays_float():
    """Boxes of hundreds beside scores of at most 1: one range for both would leave no score."""

    class Detector(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.box, self.score = nn.Linear(8, 16), nn.Linear(16, 4), nn.Linear(16, 5)

        def forward(self, x):
            x = self.body(x).relu()
            return torch.cat([self.box(x).sigmoid() * 640, self.score(x)], 1)

    variant = toy_variant(
        "static", model=made(Detector), metric=lambda out, y: (out[:, 4:7].argmax(1) == y).float()
    )
    assert variant.recipe.flow == "fx"
    x = variant.admitted.first_inputs
    with torch.no_grad():
        wanted, found = variant.fp32.model(x)[:, 4:], variant(x)[:, 4:]
    assert sqnr(wanted, found) > 20


class Block(nn.Module):
    def __init__(self, drop):
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), drop

    def forward(self, x):
        return F.relu(x + self.drop(self.norm(self.conv(x))))


class DropPath(nn.Module):
    """As timm and others write it."""

    def forward(self, x):
        if not self.training:
            return x
        keep = x.new_empty((len(x), 1, 1, 1)).bernoulli_(0.9)
        return x * keep / 0.9


class Noisy(nn.Module):
    """A block that holds layers and asks for its mode itself."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x):
        x = self.conv(x)
        return x + torch.randn_like(x) if self.training else x


DROPS = {
    "StochasticDepth": lambda: Block(StochasticDepth(0.2, "row")),
    "seldom": lambda: Block(StochasticDepth(0.001, "row")),
    "DropPath": lambda: Block(DropPath()),
    "a block that asks itself": Noisy,
}


@pytest.mark.parametrize("make", DROPS.values(), ids=DROPS)
def test_modules_that_ask_for_their_mode_train_and_are_not_random_afterwards(make):
    variant = variant_of(between(lambda y, block: block(y), make), QAT)
    assert variant.recipe.flow == "fx"
    x = chain_images(512, 3)
    state = torch.get_rng_state()
    assert torch.equal(variant(x), variant(x))
    assert torch.equal(torch.get_rng_state(), state)
    assert any(
        "without what it does where self.training is true" in note and "layers.0" in note
        for note in variant.notes
    )


def test_a_random_depth_is_on_while_it_trains():
    calls = []

    class Told(DropPath):
        def forward(self, x):
            calls.append(self.training)
            return super().forward(x)

    variant_of(between(lambda y, block: block(y), lambda: Block(Told())), QAT)
    assert calls.count(True) >= 4  # the steps of an epoch


def test_a_build_that_differs_from_itself_is_refused():
    class Random(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x) + 0.1 * torch.randn(3)

    with pytest.raises(QuantStageError, match="differs from itself: it draws random numbers"):
        toy_variant(Recipe("custom", build=Random))


@pytest.mark.parametrize("seed", range(4))
def test_outputs_whose_number_depends_on_values_are_no_reason_to_refuse(seed):
    """As of a detector that leaves out what scores low: rounding moves a score over the threshold."""

    class Filter(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.body, self.score, self.box = nn.Linear(8, 64), nn.Linear(64, 1), nn.Linear(64, 4)

        def forward(self, x):
            x = self.body(x).relu()
            score = self.score(x).flatten()
            return self.box(x)[score > 0], score[score > 0]

    inputs = torch.randn(512, 8, generator=torch.Generator().manual_seed(seed))
    variant = toy_variant(
        Recipe("static", flow="fx"),
        model=Filter().eval(),
        eval_data=[(inputs, inputs[:, :3].argmax(1))],
        metric=Metric(lambda o, y: float(o[1].sum()), "sum", higher_is_better=True, unit="raw"),
    )
    assert variant.recipe.flow == "fx"


def test_a_layer_that_a_build_has_put_in_is_in_eval_mode_too():
    def build(module):
        quantized = torch.ao.quantization.quantize_dynamic(module, {nn.Linear})  # in eval mode
        quantized[1] = nn.Sequential(nn.ReLU(), nn.BatchNorm1d(16))
        return quantized

    variant = toy_variant(Recipe("custom", build=build))
    assert not any(module.training for module in variant.model.modules())


def test_a_prepared_model_that_cannot_train_is_a_refusal_and_auto_goes_on(monkeypatch):
    real = fx.prepare

    def prepare(*args):
        return NoTraining(real(*args))

    class NoTraining(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            if self.training:
                raise RuntimeError("no train mode here")
            return self.inner(x)

    monkeypatch.setattr(fx, "prepare", prepare)
    variant = toy_variant(Recipe("qat", epochs=1), train_data=toy_training())
    assert variant.recipe.flow != "fx"
    assert any("fx prepared what cannot train" in note for note in variant.notes)


def toy_training():
    inputs = torch.randn(32, 8, generator=torch.Generator().manual_seed(5))
    return [(inputs, inputs[:, :3].argmax(1))]


KEPT = {
    "LayerNorm": lambda: nn.LayerNorm([8, 12, 12]),
    "InstanceNorm2d": lambda: nn.InstanceNorm2d(8),
    "BatchNorm2d": lambda: nn.BatchNorm2d(8),
    "LeakyReLU": lambda: nn.LeakyReLU(0.1),
    "ELU": nn.ELU,
    "Hardswish": nn.Hardswish,
    "Dropout": lambda: nn.Dropout(0.1),
    "Softmax": lambda: nn.Softmax(1),
    "GroupNorm": lambda: nn.GroupNorm(2, 8),
    "Sigmoid": nn.Sigmoid,
    "ReLU6": nn.ReLU6,
}


@pytest.mark.parametrize("kind", ["static", "qat"])
@pytest.mark.parametrize("make", KEPT.values(), ids=KEPT)
def test_what_is_to_stay_fp32_stays_what_it_was(make, kind):
    recipe = Recipe(
        kind, flow="fx", keep_fp32=("layers.0",), **({"epochs": 1} if kind == "qat" else {})
    )
    variant = variant_of(between(lambda y, layer: layer(F.max_pool2d(y, 1)), make), recipe)
    kept = variant.model.get_submodule("layers.0")
    assert type(kept) is type(make())
    seen = []
    kept.register_forward_pre_hook(lambda _, args: seen.append(args[0].is_quantized))
    variant(chain_images(2, 3))
    assert seen == [False]


def test_a_layer_that_was_to_stay_fp32_and_did_not_is_an_error(monkeypatch):
    monkeypatch.setattr(fx, "hide", lambda module, names: None)  # as it was before
    model = between(lambda y, layer: layer(y), lambda: nn.LayerNorm([8, 12, 12]))
    with pytest.raises(QuantStageError, match=r"keep_fp32 names layers\.0 .* made it int8"):
        variant_of(model, Recipe("static", flow="fx", keep_fp32=("layers.0",)))


def test_a_built_model_comes_back_from_its_file_with_what_stayed_fp32(tmp_path):
    model = between(lambda y, layer: layer(y), upsampling)
    variant = variant_of(model)
    loaded = load_variant(variant.save(tmp_path / "v.pt"), model)
    x = chain_images(4, 3)
    assert torch.equal(loaded(x), variant(x))


def test_models_that_quantizable_holds_are_not_refused():
    for make, data in ((Convolutional, images), (Two, numbers)):
        for kind in ("static", "qat"):
            assert built(made(make), Recipe(kind, flow="fx"), data).recipe.flow == "fx"
