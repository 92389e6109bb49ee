"""Simulation: float arithmetic that rounds as the built int8 model does."""

import copy
from dataclasses import replace

import planted
import pytest
import torch
from builders import ONE_THREAD

from pytest_quant import Recipe, Subject, explain
from pytest_quant.explain.lost.noise import noise_share
from pytest_quant.explain.lost.simulate import simulated
from pytest_quant.explain.lost.simulation import in_float
from pytest_quant.quantize.build import build
from pytest_quant.store.open import open_store


def variant(recipe, fault=planted.none, seed=0):
    subject, _, _ = fault(seed)
    data = [(x, subject.model(x).argmax(1)) for x in subject.calibration_data]
    return open_store(ONE_THREAD).variant(replace(subject, train_data=data), recipe)


def decibels(own, kept=()):
    """SQNR of the outputs as built and as simulated, in dB."""
    simulation, probe = simulated(own), own.admitted.first_inputs
    built = build(own.admitted, replace(own.recipe, keep_fp32=kept), ONE_THREAD).module
    with in_float():
        reference = simulation.outputs(probe, simulation.without(simulation.layers))
        inside = simulation.outputs(probe, simulation.without(kept))
    with own.running():
        outside = built(probe)
    return [-10 * torch.tensor(noise_share(reference, y)).log10().item() for y in (outside, inside)]


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("kept", [(), ("middle.0",), ("stem.0", "head"), ("last.0",)])
def test_the_noise_is_that_of_the_built_model(per_channel, kept):
    built, inside = decibels(variant(Recipe("static", per_channel=per_channel)), kept)
    assert built > 20
    assert inside == pytest.approx(built, abs=2.5)


@pytest.mark.parametrize(
    "fault", [planted.outlier_channel, planted.head_that_must_stay, planted.saturating_activation]
)
def test_so_it_is_where_a_layer_is_at_fault(fault):
    built, inside = decibels(variant(Recipe("static"), fault))
    assert built < 20
    assert inside == pytest.approx(built, abs=3)


@pytest.fixture(scope="module")
def compiled():
    """A compiled variant, which nothing changes."""
    return variant(Recipe("static", flow="pt2e"))


@pytest.mark.slow
@pytest.mark.parametrize("kept", [(), ("middle.0",)])
def test_the_noise_is_that_of_the_compiled_model(compiled, kept):
    built, inside = decibels(compiled, kept)
    assert inside == pytest.approx(built, abs=2)


def test_with_no_layer_quantized_it_gives_fp32s_bits():
    own = variant(Recipe("static"))
    simulation, probe = simulated(own), own.admitted.first_inputs
    with in_float():
        outputs = simulation.outputs(probe, simulation.without(simulation.layers))
        assert torch.equal(outputs, own.fp32.model(probe))


def test_neither_model_nor_inputs_are_changed():
    own = variant(Recipe("static"))
    simulation, probe = simulated(own), own.admitted.first_inputs
    weights, inputs = copy.deepcopy(simulation.module.state_dict()), probe.clone()
    with in_float():
        simulation.outputs(probe, simulation.without())
    assert torch.equal(probe, inputs)
    assert all(torch.equal(weights[n], t) for n, t in simulation.module.state_dict().items())


def test_weights_or_activations_alone_make_less_noise_than_both():
    own = variant(Recipe("static"))
    simulation, probe = simulated(own), own.admitted.first_inputs
    with in_float():
        reference = simulation.outputs(probe, simulation.without(simulation.layers))
        both, weights, activations = (
            noise_share(reference, simulation.outputs(probe, simulation.without(**only)))
            for only in ({}, {"activations": False}, {"weights": False})
        )
    assert 0 < weights < both
    assert 0 < activations < both


@pytest.mark.parametrize("flow", ["fx", "parts"])
def test_qat_is_looked_at_with_the_weights_that_it_has_trained(flow):
    own = variant(Recipe("qat", epochs=1, flow=flow))
    simulation = simulated(own)
    assert not torch.equal(simulation.module.head.weight, own.fp32.model.head.weight)
    built = own.model(own.admitted.first_inputs)
    with in_float():
        inside = simulation.outputs(own.admitted.first_inputs, simulation.without())
    assert noise_share(inside, built) < 0.02


def test_the_noise_share_leaves_out_what_all_classes_share():
    x = torch.tensor([[1.0, 2.0, 3.0]])
    assert noise_share(x, x + 100) == pytest.approx(0, abs=1e-12)
    assert noise_share(x, x + torch.tensor([0.1, 0.0, -0.1])) == pytest.approx(0.01)
    assert noise_share(torch.ones(2, 1), torch.zeros(2, 1)) == 0.0
    assert noise_share(x, torch.full_like(x, float("nan"))) == float("inf")


def test_integers_that_are_made_of_activations_are_not_rounded():
    class Counting(planted.Net):
        def forward(self, x):
            x = self.last(self.middle(self.stem(x)))
            steps = x.to(torch.int64)
            return self.head(torch.sub(x, steps // 16).mean((2, 3)))

    subject, _, _ = planted.none(0)
    torch.manual_seed(0)
    own = open_store(ONE_THREAD).variant(
        replace(subject, model=Counting().eval()), Recipe("static")
    )
    built, inside = decibels(own)
    assert inside == pytest.approx(built, abs=3)


@pytest.mark.parametrize("crossing", [False, True])
def test_the_projections_of_attention_are_layers_of_their_own(crossing):
    class Attending(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = torch.nn.MultiheadAttention(16, 2, batch_first=True)

        def forward(self, x):
            other = x.sin() if crossing else x  # then attention takes parts of its weight
            return self.attention(x, other, other, need_weights=False)[0].flatten(1)

    torch.manual_seed(0)
    shown, seen = torch.randn(2, 32, 5, 16)
    subject = Subject(
        Attending().eval(), eval_data=[(shown, torch.arange(32) % 3)], calibration_data=[seen]
    )
    recipe = Recipe("static", flow="pt2e")
    explanation = explain(open_store(ONE_THREAD).variant(subject, recipe))
    layers = {layer.name: layer for layer in explanation.layers}
    assert set(layers) == {"attention", "attention.out_proj"}
    assert all(layer.weight_sqnr > 40 and layer.sqnr > 20 for layer in layers.values())
    assert layers["attention"].parameters == 3 * 16 * 16 + 3 * 16
    assert explanation.sqnr["built"] == pytest.approx(explanation.sqnr["whole"], abs=3)
