"""QConfigs: ranges, schemes and observers, read off the modules that the flows really put in."""

from itertools import product

import pytest
import torch
from quantizable import Stubbed, Two, built, decibels, images, made, numbers
from torch import nn

from pytest_quant import Recipe
from pytest_quant.machine.conditions import engine_set, known_warnings_silenced
from pytest_quant.quantize.flows import eager, fx, pt2e
from pytest_quant.quantize.flows.example import Example
from pytest_quant.quantize.flows.flow import observers_of
from pytest_quant.variant.recipe import OBSERVERS, QSCHEMES, SLOW_TO_TRAIN

SYMMETRIC = "per_tensor_symmetric"
FOR_TRAINING = tuple(name for name in OBSERVERS if name not in SLOW_TO_TRAIN)
CLASSES = {
    "histogram": "HistogramObserver",
    "minmax": "MinMaxObserver",
    "moving_average": "MovingAverageMinMaxObserver",
    "percentile": "PercentileObserver",
    "entropy": "EntropyObserver",
    "mse": "MSEObserver",
}
# What PyTorch's kernels can take: 7 bits of activations where products are added in 16 bits.
HIGHEST = {
    ("x86", True): 127,
    ("x86", False): 127,
    ("fbgemm", True): 127,
    ("fbgemm", False): 127,
    ("onednn", True): 255,
    ("onednn", False): 127,
    ("qnnpack", True): 255,
    ("qnnpack", False): 255,
}


@pytest.fixture
def cpu(monkeypatch):
    """A function that makes this a CPU with VNNI, or without."""

    def become(vnni):
        flags = frozenset({"avx512f"} | ({"avx512_vnni"} if vnni else set()))
        monkeypatch.setattr("pytest_quant.machine.cpu.cpu_flags", lambda: flags)
        for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
            monkeypatch.delenv(name, raising=False)

    return become


def prepared(flow, recipe, engine):
    """Two layers after prepare, having seen 256 samples off zero, and those samples."""
    make, data = (Stubbed, images) if flow is eager else (Two, numbers)
    x = data(2, (256,))[0][0] + 0.5
    model = made(make).train(recipe.kind == "qat")
    with known_warnings_silenced(), engine_set(engine):
        module = flow.prepare(model, recipe, engine, Example((x,), {}, model(x).detach()))
        module(x)
    return module, x


def first_activation(module):
    """What the model's input meets: an observer, or a fake-quantize module, and its observer."""
    per_tensor = (torch.per_tensor_affine, torch.per_tensor_symmetric)
    owners = dict(module.named_modules())
    for name, observer in observers_of(module).items():
        if observer.qscheme in per_tensor and observer.dtype in (torch.quint8, torch.uint8):
            return owners[name], observer
    raise AssertionError("no activation is observed")


def levels(observer, x):
    """How many levels the seen range takes."""
    scale, _ = observer.calculate_qparams()
    return float((x.max() - x.min()) / scale)


@pytest.mark.parametrize("kind", ["static", "qat"])
@pytest.mark.parametrize(("engine", "vnni"), HIGHEST)
@pytest.mark.parametrize("qscheme", [None, SYMMETRIC])
@pytest.mark.parametrize("observer", [None, "minmax"])
@pytest.mark.parametrize("flow", [fx, eager], ids=lambda flow: flow.NAME)
def test_activations_have_the_range_that_the_kernels_take(
    cpu, flow, observer, qscheme, engine, vnni, kind
):
    cpu(vnni)
    recipe = Recipe(kind, engine=engine, observer=observer, qscheme=qscheme)
    owner, seen = first_activation(prepared(flow, recipe, engine)[0])
    highest = HIGHEST[engine, vnni]
    assert (seen.quant_min, seen.quant_max) == (0, highest)
    if kind == "qat":  # what is simulated is what will be computed
        assert (owner.quant_min, owner.quant_max) == (0, highest)


@pytest.mark.parametrize("kind", ["static", "qat"])
@pytest.mark.parametrize("vnni", [True, False])
@pytest.mark.parametrize(("observer", "qscheme"), [(None, None), ("minmax", SYMMETRIC)])
def test_activations_of_pt2e_have_the_range_that_the_kernels_take(
    cpu, observer, qscheme, vnni, kind
):
    cpu(vnni)
    recipe = Recipe(kind, observer=observer, qscheme=qscheme)
    owner, seen = first_activation(prepared(pt2e, recipe, "onednn")[0])
    highest = 255 if vnni else 127
    assert (seen.quant_min, seen.quant_max) == (0, highest)
    assert (owner.quant_min, owner.quant_max) == (0, highest)


@pytest.mark.parametrize("vnni", [True, False])
def test_activations_that_pt2e_quantizes_as_they_come_have_it_too(cpu, vnni):
    cpu(vnni)
    _, seen = first_activation(prepared(pt2e, Recipe("dynamic"), "onednn")[0])
    assert (seen.quant_min, seen.quant_max) == (0, 255 if vnni else 127)


@pytest.mark.parametrize("observer", ["minmax", "moving_average"])
@pytest.mark.parametrize("flow", [fx, pt2e], ids=lambda flow: flow.NAME)
@pytest.mark.parametrize("kind", ["static", "qat"])
def test_the_scale_uses_the_range_once(cpu, kind, flow, observer):
    """A range that is halved twice would leave 63 levels of 127."""
    for vnni, expected in ((True, 255), (False, 127)):
        cpu(vnni)
        recipe = Recipe(kind, engine="onednn", observer=observer)
        module, x = prepared(flow, recipe, "onednn")
        assert levels(first_activation(module)[1], x) == pytest.approx(expected, rel=0.001)


@pytest.mark.parametrize(
    ("flow", "kind", "observer", "qscheme"),
    [
        *product((fx, eager), ["static"], OBSERVERS, QSCHEMES),
        *product((fx, eager), ["qat"], FOR_TRAINING, QSCHEMES),
        *product((pt2e,), ["static"], SLOW_TO_TRAIN, QSCHEMES),
        *product((pt2e,), ["qat"], FOR_TRAINING, [SYMMETRIC]),
    ],
    ids=lambda value: getattr(value, "NAME", value),
)
def test_each_observer_and_scheme_is_the_one_asked_for(flow, kind, observer, qscheme):
    recipe = Recipe(kind, observer=observer, qscheme=qscheme)
    _, seen = first_activation(prepared(flow, recipe, "onednn")[0])
    assert type(seen).__name__ == CLASSES[observer]
    assert seen.qscheme == getattr(torch, qscheme)
    _, zero_point = seen.calculate_qparams()
    middle = (seen.quant_min + seen.quant_max) // 2
    assert (int(zero_point) == middle) == (qscheme == SYMMETRIC)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("static", "HistogramObserver"), ("qat", "MovingAverageMinMaxObserver")],
)
@pytest.mark.parametrize("flow", [fx, eager], ids=lambda flow: flow.NAME)
def test_without_a_wish_the_observer_is_pytorchs(flow, kind, expected):
    assert type(first_activation(prepared(flow, Recipe(kind), "onednn")[0])[1]).__name__ == expected


@pytest.mark.parametrize("qscheme", QSCHEMES)
@pytest.mark.parametrize("observer", OBSERVERS)
@pytest.mark.parametrize("engine", ["x86", "onednn"])
@pytest.mark.parametrize("make", [Stubbed, Two])
def test_each_makes_a_faithful_variant(make, engine, observer, qscheme):
    recipe = Recipe("static", engine=engine, observer=observer, qscheme=qscheme)
    variant = built(made(make), recipe, images if make is Stubbed else numbers)
    assert variant.recipe.flow == ("eager" if make is Stubbed else "fx")
    assert decibels(variant) > 18


@pytest.mark.slow
@pytest.mark.parametrize("qscheme", QSCHEMES)
@pytest.mark.parametrize("observer", OBSERVERS)
def test_each_makes_a_faithful_compiled_variant(observer, qscheme):
    recipe = Recipe("static", flow="pt2e", observer=observer, qscheme=qscheme)
    variant = built(made(Two), recipe, numbers)
    assert variant.model.without_kernel == 0
    assert decibels(variant) > 25


@pytest.mark.parametrize("kind", ["dynamic", "static", "qat"])
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("make", [Stubbed, Two])
def test_weights_have_a_scale_for_each_channel_or_one(make, per_channel, kind):
    recipe = Recipe(kind, per_channel=per_channel)
    variant = built(made(make), recipe, images if make is Stubbed else numbers)
    weights = [child.weight() for child in variant.model.modules() if is_packed(child)]
    assert len(weights) == (1 if make is Stubbed and kind == "dynamic" else 2)
    for weight in weights:
        assert (weight.qscheme() == torch.per_channel_affine) == per_channel
        assert weight.dtype == torch.qint8
    assert decibels(variant) > (8 if kind == "qat" else 18)


def is_packed(child):
    return (
        hasattr(child, "weight") and callable(child.weight) and not isinstance(child, nn.Identity)
    )


def test_embeddings_keep_their_own_range_whatever_is_asked_for():
    """Their weights are unsigned, with a scale and an offset for each row."""

    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.two = nn.Embedding(20, 8), Two()

        def forward(self, x):
            return self.two(self.embed(x.argmax(1)[:, None]).mean(1))

    for recipe in (Recipe("static"), Recipe("static", observer="minmax", per_channel=False)):
        variant = built(made(Tokens), recipe, numbers)
        weight = variant.model.embed.weight()
        assert weight.dtype == torch.quint8
        assert weight.qscheme() == torch.per_channel_affine_float_qparams
        assert decibels(variant) > 18
