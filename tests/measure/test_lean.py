"""Lean: FP32 is timed without what a tracer leaves out."""

import time

import pytest
import torch
from builders import toy_variant
from torch import nn

from pytest_quant import Recipe
from pytest_quant.measure.lean import NAME, lean_beside

FX = Recipe("static", flow="fx")


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(8, 64), nn.Linear(64, 3)
        self.seen = None

    def watched(self, x):
        return x

    def forward(self, x):
        return self.last(self.watched(torch.relu(self.first(x))))


class Sorting(Plain):
    def watched(self, x):
        self.seen = x.repeat(50, 1).flatten().sort()[0][:10]
        return x


class Sleeping(Plain):
    def watched(self, x):
        time.sleep(0.002)
        return x


class Computing(Plain):
    """What is computed is a part of the outputs."""

    def watched(self, x):
        return x + x.flatten().sort()[0][:1]


class Unfit(Plain):
    """FX cannot trace it."""

    def watched(self, x):
        self.seen = float(x.sum())
        return x


class Holding(nn.Module):
    """Flow parts traces what is inside, and not this."""

    def __init__(self):
        super().__init__()
        self.inner = Plain()

    def forward(self, x):
        time.sleep(0.002 if x.sum() != 0 else 0.001)
        return self.inner(x)


@pytest.mark.parametrize(
    ("model", "said"), [(Sorting, "sort"), (Sleeping, "ms in Python")], ids=["sort", "sleep"]
)
def test_what_the_outputs_do_not_need_is_left_out_of_fp32(model, said):
    variant = toy_variant(FX, model=model().eval())
    lean = lean_beside(variant)
    assert said in lean.left_out
    inputs = variant.admitted.first_inputs
    with torch.no_grad():
        assert torch.equal(lean.model(inputs), variant.fp32.model(inputs))
    pair = variant.pair()
    assert pair.baseline == NAME
    assert lean.note in variant.fp32.notes
    pair.add_round()


class Logging(Plain):
    """Only `torch.export` traces it."""

    def watched(self, x):
        self.seen = float(torch.linalg.svdvals(x.detach().repeat(8, 2))[0])
        return x


def test_where_fx_cannot_trace_it_the_time_tells():
    variant = toy_variant(Recipe("static", flow="pt2e"), model=Logging().eval())
    assert "ms of it" in lean_beside(variant).left_out
    assert variant.pair().baseline == NAME
    variant.pair().add_round()
    assert lean_beside(toy_variant(Recipe("static", flow="pt2e"), model=Unfit().eval())) is None


@pytest.mark.parametrize(
    ("model", "recipe"),
    [
        (Plain, FX),
        (Computing, FX),
        (Sorting, Recipe("dynamic")),  # which sorts too
        (Sorting, Recipe("weight_only")),
        (Unfit, Recipe("static", flow="parts")),
        (Holding, Recipe("static", flow="parts")),
        (lambda: nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)), FX),
    ],
)
def test_else_it_is_timed_as_it_is(model, recipe):
    variant = toy_variant(recipe, model=model().eval())
    assert lean_beside(variant) is None
    assert variant.pair().baseline == "FP32 as given"


class Part(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 64)

    def forward(self, x):
        return torch.relu(self.layer(x))


class SortingByParts(Sorting):
    def __init__(self):
        super().__init__()
        self.first = Part()

    def watched(self, x):
        self.seen = x.repeat(50, 1).flatten().sort()[0][:10]
        return x


def test_a_layer_that_stays_fp32_as_a_whole_does_not_hide_it():
    for keep in ((), "first"):
        variant = toy_variant(
            Recipe("static", flow="fx", keep_fp32=keep), model=SortingByParts().eval()
        )
        assert "sort" in lean_beside(variant).left_out


def test_what_takes_no_time_is_no_matter():
    class Detaching(Plain):
        def watched(self, x):
            self.seen = x.detach()
            return x

    assert lean_beside(toy_variant(FX, model=Detaching().eval())) is None


@pytest.mark.parametrize("keeps", [True, False])
def test_a_build_of_ones_own_that_runs_fp32s_code_is_timed_beside_it(keeps):
    def build(model):
        made = torch.ao.quantization.quantize_dynamic(model, {nn.Linear})
        return made if keeps else torch.fx.symbolic_trace(made)

    variant = toy_variant(Recipe("custom", build=build), model=Sorting().eval())
    assert (lean_beside(variant) is None) is keeps


def test_fp32_beside_itself_is_as_given():
    fp32 = toy_variant(FX, model=Sorting().eval()).fp32
    assert fp32.pair().baseline == "FP32 as given"
