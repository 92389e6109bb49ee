"""Explain: planted faults are ranked first, and what cannot be looked into is said."""

from dataclasses import replace

import planted
import pytest
import torch
from builders import ONE_THREAD, toy_subject, toy_variant

from pytest_quant import QuantStageError, Recipe, Subject
from pytest_quant.explain import explain
from pytest_quant.explain.lost.explanation import Explanation
from pytest_quant.explain.lost.layer import OPERATION, Layer
from pytest_quant.explain.lost.sentences import _worst, sentences_on
from pytest_quant.explain.remedies.first_try import first_try
from pytest_quant.quantize.methods import observing
from pytest_quant.store.open import open_store

SEEDS = 20
WORDS = {
    "outlier_channel": "activations: outlier channel, max ",
    "saturating_activation": "saturates ",
    "depthwise_per_tensor": "depthwise, per-tensor",
    "head_that_must_stay": "of the range is empty",
    "wrong_fold": "its output is far from FP32's",
}


def explained(fault, seed):
    subject, recipe, layer = fault(seed)
    return explain(open_store(ONE_THREAD).variant(subject, recipe)), layer


@pytest.mark.parametrize("fault", planted.FAULTS, ids=lambda fault: fault.__name__)
def test_a_planted_fault_is_ranked_first_and_named(fault):
    explanation, layer = explained(fault, 0)
    first = explanation.ranked[0]
    assert first.name == layer
    assert WORDS[fault.__name__] in "; ".join(first.words)
    assert layer in explanation.sentences[0]


@pytest.mark.slow
@pytest.mark.parametrize("fault", planted.FAULTS, ids=lambda fault: fault.__name__)
def test_a_planted_fault_is_ranked_first_in_19_of_20_seeds(fault):
    found = [explained(fault, seed) for seed in range(SEEDS)]
    assert sum(explanation.ranked[0].name == layer for explanation, layer in found) >= 19


def test_layers_come_in_the_order_of_the_network_and_shares_add_up():
    explanation, _ = explained(planted.none, 0)
    assert [layer.name for layer in explanation.layers] == ["stem.0", "middle.0", "last.0", "head"]
    assert sum(layer.share for layer in explanation.layers) == pytest.approx(1)
    assert all(20 < layer.sqnr < 60 for layer in explanation.layers)
    assert explanation.sqnr["whole"] < min(
        explanation.sqnr["weights"], explanation.sqnr["activations"]
    )
    assert not any(layer.faults for layer in explanation.layers)


def test_a_layer_that_was_kept_fp32_is_not_listed():
    subject, _, _ = planted.none(0)
    variant = open_store(ONE_THREAD).variant(subject, Recipe("static", keep_fp32=("middle",)))
    assert [layer.name for layer in explain(variant).layers] == ["stem.0", "last.0", "head"]


def test_it_is_made_once_and_crosses_processes():
    variant = toy_variant("static")
    explanation = explain(variant)
    assert explain(variant) is explanation
    assert variant.measured("explanation") is explanation
    read = Explanation.from_dict(explanation.to_dict())
    assert (read.to_dict(), str(read)) == (explanation.to_dict(), str(explanation))


def test_without_time_layers_are_ranked_by_their_own_noise():
    subject, recipe, layer = planted.wrong_fold(0)
    explanation = explain(open_store(ONE_THREAD).variant(subject, recipe), seconds=0)
    assert explanation.ranked[0].name == layer
    assert "was not measured" in explanation.notes[0]
    assert all(each.share is None for each in explanation.layers)


class Tagger(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = torch.nn.LSTM(8, 16, batch_first=True)
        self.head = torch.nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.lstm(x[:, None].expand(-1, 5, -1))[0][:, -1])


@pytest.mark.parametrize("recipe", ["dynamic", "weight_only"])
def test_a_recurrent_model_is_looked_into_as_it_is_built(recipe):
    torch.manual_seed(0)
    explanation = explain(toy_variant(recipe, model=Tagger().eval()))
    by_name = {layer.name: layer for layer in explanation.layers}
    assert "head" in by_name
    assert recipe == "weight_only" or "lstm" in by_name
    assert all(layer.effect > 0 and layer.sqnr > 15 for layer in explanation.layers)


def test_int8_layers_of_a_custom_quantizer_are_given_int8_inputs():
    subject, _, _ = planted.none(0)
    own = open_store(ONE_THREAD).variant(subject, Recipe("static")).model
    custom = Recipe("custom", build=lambda module: own)
    explanation = explain(open_store(ONE_THREAD).variant(subject, custom))
    by_name = {layer.name: layer.sqnr for layer in explanation.layers}
    assert by_name.keys() == {"stem.0", "middle.0", "last.0", "head"}
    assert all(20 < noise < 60 for noise in by_name.values())


def test_fp32_and_what_is_no_variant_are_refused():
    with pytest.raises(TypeError, match="expected a quantized Variant"):
        explain(open_store(ONE_THREAD).fp32(toy_subject()))
    with pytest.raises(TypeError, match="was given 'static'"):
        explain("static")


@pytest.mark.parametrize(
    ("recipe", "why"),
    [
        (Recipe("cast"), "no layer that is quantized alone"),
        (Recipe("custom", build=lambda m: lambda x: m(x) + 0.01), "is one piece"),
    ],
)
def test_what_cannot_be_looked_into_says_why(recipe, why):
    with pytest.raises(QuantStageError, match=why):
        explain(toy_variant(recipe))


def test_random_state_threads_and_engine_are_left_as_they_were():
    variant = toy_variant("static")
    torch.manual_seed(3)
    before = torch.get_rng_state(), torch.get_num_threads(), torch.backends.quantized.engine
    explain(variant)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (torch.get_num_threads(), torch.backends.quantized.engine)
    assert torch.is_grad_enabled()


def test_a_model_called_with_a_dict_is_explained():
    class Named(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = torch.nn.Linear(8, 3)

        def forward(self, numbers=None, labels=None):
            return {"logits": self.fc(numbers)}

    x = torch.randn(32, 8, generator=torch.Generator().manual_seed(0))
    model = Named().eval()
    y = model(x)["logits"].argmax(1)
    data = [{"numbers": x, "labels": y}]
    calibration = [{"numbers": x + 0.01, "labels": y}]
    metric = lambda outputs, targets: (outputs["logits"].argmax(1) == targets).float()  # noqa: E731
    subject = Subject(model, eval_data=data, calibration_data=calibration, metric=metric)
    explanation = explain(open_store(ONE_THREAD).variant(subject, Recipe("static")))
    assert [layer.name for layer in explanation.layers] == ["fc"]


class OutOfStep(torch.nn.Module):
    """Changes a layer's output in place, which flow fx converts to something else."""

    def __init__(self):
        super().__init__()
        self.body, self.head = torch.nn.Linear(8, 16), torch.nn.Linear(16, 3)

    def forward(self, x):
        x = self.body(x).relu_()
        x += 1
        x.mul_(2).add_(x)
        return self.head(x)


def test_a_model_that_was_converted_to_another_one_is_not_blamed_on_its_layers(monkeypatch):
    """Such a flow is refused where what it built can be compared, which is left out here."""
    monkeypatch.setattr(observing, "refuse_unlike_rehearsal", lambda *args: ())
    torch.manual_seed(0)
    model = OutOfStep().eval()
    explanation = explain(toy_variant(Recipe("static", flow="fx"), model=model))
    assert explanation.sqnr["built"] < 20 < explanation.sqnr["whole"]
    assert explanation.sentences[0].startswith("Rounding alone does not explain the loss")
    parts = explain(toy_variant(Recipe("static", flow="parts"), model=model))
    assert parts.sqnr["built"] == pytest.approx(parts.sqnr["whole"], abs=4)
    assert "rounding alone" not in str(parts)


@pytest.mark.parametrize("shares", [(0.5, 0.4), (0.3, 0.3, 0.2, 0.15)])
def test_operations_are_counted_among_what_makes_the_noise(shares):
    head, *more = shares
    layers = (Layer("head", "Linear", effect=head, share=head),)
    operations = tuple(
        Layer(f"mean {number}", OPERATION, effect=share, share=share)
        for number, share in enumerate(more)
    )
    explanation = Explanation("v", "m", "", layers, {"whole": 20.0}, 8, 0.1, operations=operations)
    said = " ".join(_worst(explanation))
    assert f"of {len(shares)} layers and operations make" in said


def test_where_weights_and_activations_cost_alike_uneven_channels_are_evened_out():
    model = planted.net(0)
    with torch.no_grad():
        model.middle[1].weight[3] *= 1000
        model.middle[1].bias[3] *= 1000
        model.last[0].weight[:, 3] /= 1000
    subject = planted.subject(model, 0)
    variant = open_store(ONE_THREAD).variant(subject, Recipe("static"))
    made = explain(variant)
    level = {**made.sqnr, "weights": 10.0, "activations": 10.0}
    alike = sentences_on(replace(made, sqnr=level), variant)
    assert "cost alike" in str(alike)
    assert "try equalize=True" in str(alike)
    assert first_try(variant, alike).equalize


def test_channels_that_differ_call_for_equalizing_and_a_report_holds_words():
    explanation, _ = explained(planted.outlier_channel, 0)
    assert "equalize=True, which evens out channels" in str(explanation)
    read = Explanation.from_dict(explanation.to_dict())
    assert read.ranked[0].faults == explanation.ranked[0].words
