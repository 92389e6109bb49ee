"""Wishes: each field of a recipe changes what is built as it says, or is an error that says why not."""

from dataclasses import replace

import pytest
import torch
from quantizable import (
    Branching,
    Stubbed,
    Two,
    built,
    decibels,
    images,
    made,
    numbers,
    tokens,
)
from torch import nn

from pytest_quant import QuantStageError, Recipe
from pytest_quant.machine.conditions import engine_set, known_warnings_silenced
from pytest_quant.quantize.flows import fx
from pytest_quant.quantize.flows.example import Example
from pytest_quant.quantize.qconfigs import qconfig_mapping
from pytest_quant.quantize.wishes import refuse_other_observers
from pytest_quant.variant.recipe import OBSERVERS
from pytest_quant.variant.tensors import plain_tensors, state_of, tensors_of

PER_CHANNEL, PER_TENSOR = torch.per_channel_affine, torch.per_tensor_affine
SYMMETRIC = "per_tensor_symmetric"


class Layers(nn.Module):
    """A layer of each kind with an int8 kernel, on [n, 3, 12, 12]."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.last, self.fc = nn.Conv2d(8, 8, 1), nn.Linear(8, 5)

        self.relu = nn.ReLU()

    def forward(self, x):
        x = self.relu(self.norm(self.conv(x)))
        x = x + self.last(self.relu(self.depthwise(x)))
        return self.fc(x.mean((2, 3)))


class Stubs(Stubbed):
    """The same for eager mode, with something to equalize."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 5))


class Branches(Branching):
    """The same for parts."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 5))


class Words(nn.Module):
    """An embedding and nothing else that has an int8 kernel, on ids [n, 7]."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 4)

    def forward(self, ids):
        return self.embed(ids).mean(1)


FLOWS = {"fx": Layers, "eager": Stubs, "parts": Branches}
OBSERVED = [(kind, flow) for kind in ("static", "qat") for flow in FLOWS]


def int8_weights(variant):
    held = [*tensors_of(state_of(variant.model)), *(t for _, t in plain_tensors(variant.model))]
    return [tensor for tensor in held if tensor.is_quantized and tensor.ndim > 1]


def zero_points(variant):
    """Of all activations that the built model quantizes."""
    found = [getattr(child, "zero_point", None) for child in variant.model.modules()]
    found = [each for each in found if isinstance(each, int)]
    found += [
        int(value)
        for name, value in variant.model.named_buffers()
        if "zero_point" in name.rpartition(".")[2] and value.numel() == 1
    ]
    return found


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize(("kind", "flow"), OBSERVED)
def test_weights_of_each_flow_have_a_scale_for_each_channel_or_one(kind, flow, per_channel):
    variant = built(made(FLOWS[flow]), Recipe(kind, flow=flow, per_channel=per_channel))
    schemes = {weight.qscheme() for weight in int8_weights(variant)}
    assert schemes == {PER_CHANNEL if per_channel else PER_TENSOR}


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("engine", ["x86", "onednn", "qnnpack", "fbgemm"])
@pytest.mark.parametrize("kind", ["dynamic", "static", "qat"])
def test_and_of_each_engine(kind, engine, per_channel):
    """PyTorch's own choice for qnnpack is one scale for a weight."""
    variant = built(made(Layers), Recipe(kind, engine=engine, per_channel=per_channel))
    schemes = {weight.qscheme() for weight in int8_weights(variant)}
    assert schemes == {PER_CHANNEL if per_channel else PER_TENSOR}
    assert variant.recipe.engine == engine
    assert decibels(variant) > (8 if kind == "qat" else 25)


@pytest.mark.parametrize("engine", ["x86", "onednn", "qnnpack"])
@pytest.mark.parametrize("kind", ["static", "qat"])
def test_a_transposed_convolution_has_one_scale_in_any_case(kind, engine):
    """Its kernels take no more; with a scale for each channel, as onednn's default is, FX fails."""
    mapping = qconfig_mapping(Recipe(kind), engine)
    for layer in (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d):
        observer = mapping.object_type_qconfigs[layer].weight()
        assert observer.qscheme == torch.per_tensor_symmetric
    if kind == "static":
        layers = nn.ConvTranspose2d(3, 4, 3), nn.Flatten(), nn.Linear(784, 5)
        built(made(nn.Sequential, *layers), Recipe(kind, flow="fx", engine=engine))


@pytest.mark.parametrize("qscheme", [None, SYMMETRIC])
@pytest.mark.parametrize(("kind", "flow"), OBSERVED)
def test_activations_are_symmetric_throughout_where_that_is_asked_for(kind, flow, qscheme):
    points = zero_points(built(made(FLOWS[flow]), Recipe(kind, flow=flow, qscheme=qscheme)))
    assert len(points) > 2
    assert (set(points) == {63}) == (qscheme == SYMMETRIC)  # of 0 to 127


@pytest.mark.parametrize("observer", ["minmax", "moving_average"])
@pytest.mark.parametrize(("kind", "flow"), OBSERVED)
def test_another_observer_gives_other_scales(kind, flow, observer):
    """All but the default; what its class is, other tests read off the prepared model."""

    def scales(recipe):
        model = built(made(FLOWS[flow]), recipe, **spread()).model
        own = [getattr(child, "scale", None) for child in model.modules()]
        return [float(each) for each in own if isinstance(each, float)]

    usual, other = Recipe(kind, flow=flow), Recipe(kind, flow=flow, observer=observer)
    differs = scales(usual) != scales(other)
    assert differs or (kind, observer) == ("qat", "moving_average")  # which is QAT's usual one


def spread():
    """Batches of rising scale, which each observer sums up in its own way."""
    batches = [(x * (1 + i), y) for i, (x, y) in enumerate(images(2, (16,) * 6))]
    return {"calibration_data": batches, "train_data": batches}


@pytest.mark.parametrize("flow", FLOWS)
def test_equalize_changes_the_weights_of_every_flow(flow):
    def weights(recipe):
        variant = built(made(FLOWS[flow]), recipe)
        return [w.dequantize() for w in int8_weights(variant)], variant.notes

    usual, _ = weights(Recipe("static", flow=flow))
    other, notes = weights(Recipe("static", flow=flow, equalize=True))
    changed = [not torch.allclose(a, b, atol=1e-3) for a, b in zip(usual, other, strict=True)]
    assert sum(changed) >= 2
    assert any(note.startswith("equalized") for note in notes)


def test_equalize_between_layers_that_stay_fp32_is_an_error():
    recipe = Recipe("static", equalize=True, keep_fp32=("depthwise", "last"))
    with pytest.raises(QuantStageError, match="no two layers of quant_model outside keep_fp32"):
        built(made(Layers), recipe)


@pytest.mark.parametrize("recipe", [Recipe("static", flow="fx"), Recipe("dynamic")], ids=str)
def test_a_scale_for_each_tensor_says_nothing_to_embeddings_alone(recipe):
    assert built(made(Words), recipe, tokens).int8_share.parameters == 1.0
    with pytest.raises(QuantStageError, match="no use for per_channel=False: embeddings alone"):
        built(made(Words), replace(recipe, per_channel=False), tokens)


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"observer": "mse"}, "observer='mse'"), ({"qscheme": SYMMETRIC}, f"qscheme='{SYMMETRIC}'")],
)
def test_a_flow_that_puts_in_other_observers_is_refused(settings, named):
    x = images()[0][0]
    model = made(Layers)
    with known_warnings_silenced(), engine_set("x86"):
        usual = fx.prepare(model, Recipe("static"), "x86", Example((x,), {}, model(x).detach()))
    refuse_other_observers(usual, Recipe("static"), "fx")
    refuse_other_observers(usual, Recipe("static", observer="histogram"), "fx")
    with pytest.raises(QuantStageError, match=f"flow fx has no use for {named}: no activation"):
        refuse_other_observers(usual, Recipe("static", **settings), "fx")


@pytest.mark.parametrize("kind", ["dynamic", "static", "qat"])
@pytest.mark.parametrize(
    ("settings", "why"),
    [({"per_channel": False}, "per_channel=True only"), ({"engine": "x86"}, "engine onednn only")],
)
def test_what_compiled_graphs_cannot_do_is_an_error(kind, settings, why):
    with pytest.raises(QuantStageError, match=f"flow pt2e cannot take quant_model: .*{why}"):
        built(made(Two), Recipe(kind, flow="pt2e", **settings), numbers)


@pytest.mark.parametrize("per_channel", [True, False])
def test_weights_alone_have_a_scale_for_each_channel_or_one(per_channel):
    variant = built(made(Layers), Recipe("weight_only", per_channel=per_channel))
    scales = [b.numel() for name, b in variant.model.named_buffers() if name.endswith("scales")]
    assert scales
    assert all((count > 1) == per_channel for count in scales)


@pytest.mark.parametrize("bits", range(1, 9))
def test_a_codebook_has_as_many_values_as_its_bits_can_tell(bits):
    model = made(lambda: nn.Sequential(nn.Linear(8, 400), nn.ReLU(), nn.Linear(400, 4)))
    variant = built(model, Recipe("weight_only", dtype="codebook", bits=bits), numbers)
    assert len(variant.model[0].weight.unique()) == 2**bits


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_cast_model_computes_in_the_type_that_is_asked_for(dtype):
    model = built(made(Layers), Recipe("cast", dtype=dtype)).model
    assert {model.conv.weight.dtype, model.fc.weight.dtype} == {getattr(torch, dtype)}


def test_a_build_runs_with_the_engine_that_is_asked_for():
    engines = []

    def build(module):
        engines.append(torch.backends.quantized.engine)
        return torch.ao.quantization.quantize_dynamic(module, {nn.Linear})

    built(made(Two), Recipe("custom", build=build, engine="qnnpack"), numbers)
    assert engines == ["qnnpack"]
    assert torch.backends.quantized.engine != "qnnpack"


def test_every_observer_has_a_name_that_both_stacks_use():
    from pytest_quant.quantize.activations import class_name, observer_class

    for name in OBSERVERS:
        assert observer_class(name, torch.ao.quantization.observer).__name__ == class_name(name)
