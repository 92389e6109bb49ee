"""The SQNR gate: of outputs, by hand, whatever the metric says."""

import math

import pytest
import torch
from builders import tiny_linear, toy_variant

from pytest_quant import Metric, QuantStageError, Recipe, assert_gates, assert_min_sqnr
from pytest_quant.judge.verdict import Outcome


def decibels(variant):
    """20 log10(||x|| / ||x - y||) on the first eval batch."""
    x = variant.admitted.first_inputs
    with torch.no_grad():
        wanted, found = variant.fp32.model(x).double(), variant(x).double()
    return float(20 * torch.log10(wanted.norm() / (wanted - found).norm()))


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_what_is_judged_is_the_ratio_of_the_outputs(kind):
    variant = toy_variant(kind)
    expected = decibels(variant)
    verdict = assert_min_sqnr(variant, expected - 0.1)
    assert verdict.observed == pytest.approx(expected, abs=1e-3)
    with pytest.raises(AssertionError, match=rf"SQNR FAIL: {kind} keeps .* dB .*, required"):
        assert_min_sqnr(variant, expected + 0.1)


def test_a_lucky_metric_does_not_help():
    """Outputs of half the size choose the same classes, and are 6 dB from FP32's."""

    class Half(torch.nn.Module):
        def __init__(self, module):
            super().__init__()
            self.inner = torch.ao.quantization.quantize_dynamic(module, {torch.nn.Linear})

        def forward(self, x):
            return self.inner(x) / 2

    variant = toy_variant(Recipe("custom", build=Half), name="half")
    with pytest.raises(AssertionError, match=r"half keeps 6\.0 dB"):
        assert_min_sqnr(variant, 20)


def test_it_is_a_limit_like_the_others():
    (verdict,) = assert_gates(toy_variant("dynamic"), min_sqnr=5)
    assert (verdict.gate, verdict.outcome, verdict.limit) == ("min_sqnr", Outcome.PASS, 5.0)
    with pytest.raises(ValueError, match=r"min_sqnr.*decibels from 0 on"):
        assert_min_sqnr(toy_variant("dynamic"), -1)
    with pytest.raises(TypeError):
        assert_min_sqnr(toy_variant("dynamic"))


def test_fp32_itself_keeps_all():
    verdict = assert_min_sqnr(toy_variant("dynamic").fp32, 100)
    assert verdict.observed is None
    assert math.isinf(float(verdict.sentence.split("keeps ")[1].split(" dB")[0]))


def test_each_of_several_outputs_has_to_keep_as_much():
    """Boxes in pixels would drown scores that are lost."""

    class Detector(torch.nn.Module):
        def __init__(self, scale=1.0):
            super().__init__()
            torch.manual_seed(0)
            self.boxes, self.scores = torch.nn.Linear(8, 4), torch.nn.Linear(8, 3)
            self.scale = scale

        def forward(self, x):
            return self.boxes(x) * 600, self.scores(x) * self.scale

    def build(module):
        return torch.ao.quantization.quantize_dynamic(Detector(0.5), {torch.nn.Linear})

    metric = Metric(
        lambda outputs, targets: outputs[1].argmax(1) == targets, "hits", higher_is_better=True
    )
    recipe = Recipe("custom", build=build)
    variant = toy_variant(recipe, model=Detector().eval(), name="lost", metric=metric)
    with pytest.raises(AssertionError, match=r"lost keeps 6\.\d dB"):
        assert_min_sqnr(variant, 20)


class Answering(torch.nn.Module):
    """The tiny model, whose outputs become other ones."""

    def __init__(self, change):
        super().__init__()
        self.body, self.change = tiny_linear().requires_grad_(False), change

    def forward(self, x):
        return self.change(self.body(x))


@pytest.mark.parametrize("kind", ["dynamic", "static"])
@pytest.mark.parametrize(
    "change",
    [
        lambda scores: (scores * 9999).round().long(),
        lambda scores: (scores * 9999).round().int().numpy(),
        lambda scores: (scores * 9999).long() % 2 == 0,
    ],
)
def test_of_outputs_that_are_integers_it_is_not_defined(kind, change):
    metric = Metric(lambda o, y: torch.as_tensor(o)[:, 0] == y, "hits", higher_is_better=True)
    variant = toy_variant(Recipe(kind), model=Answering(change).eval(), metric=metric)
    with pytest.raises(QuantStageError, match=r"not defined .*argmax.*assert_max_accuracy_drop"):
        assert_min_sqnr(variant, 20)
    assert not [note for note in variant.notes if "dB" in note]  # no flow is weighed by it


@pytest.mark.parametrize("flow", ["auto", "fx", "pt2e"])
def test_of_arrays_it_is_that_of_the_tensors(flow):
    if flow == "pt2e":
        pytest.importorskip("torchao")
    metric = Metric(lambda o, y: torch.as_tensor(o).argmax(1) == y, "hits", higher_is_better=True)
    model = Answering(lambda scores: scores.numpy()).eval()
    variant = toy_variant(Recipe("static", flow=flow), model=model, metric=metric)
    assert assert_min_sqnr(variant, 15).observed < 60
