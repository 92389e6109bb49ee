"""Kept state: outputs that depend on earlier calls are told from those that are random."""

import random
from collections import deque

import numpy as np
import pytest
import torch
from builders import ONE_THREAD, open_store, tiny_linear, toy_subject, toy_variant
from torch import nn
from torch.ao import quantization as ao

from pytest_quant import QuantStageError, Recipe
from pytest_quant.subject.kept_state import why_unlike


class Body(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = tiny_linear()

    def forward(self, x):
        return self.body(x) + self.more(x)


class Recurrent(Body):
    """Of one batch again and again, only the first call is another one."""

    state = None

    def more(self, x):
        before, self.state = self.state, x.mean()
        return 0.0 if before is None else before


class Counting(Body):
    calls = 0

    def more(self, x):
        self.calls += 1
        return 0.1 * self.calls


class Averaging(Body):
    def __init__(self):
        super().__init__()
        self.body.register_buffer("mean", torch.zeros(()))

    def more(self, x):
        self.body.mean.mul_(0.9).add_(0.1)
        return self.body.mean.clone()


class Caching(Body):
    def __init__(self):
        super().__init__()
        self.window = deque(maxlen=9)

    def more(self, x):
        self.window.append(x.abs().mean())
        return sum(self.window)


class Generating(Body):
    def __init__(self):
        super().__init__()
        self.noise = np.random.default_rng(0)

    def more(self, x):
        return float(self.noise.standard_normal())


class Outside(Body):
    calls = []  # noqa: RUF012 - kept by the class, where nobody looks

    def more(self, x):
        Outside.calls.append(1)
        return 0.1 * len(Outside.calls)


class Drawing(Body):
    def __init__(self, draw):
        super().__init__()
        self.draw, self.calls = draw, 0

    def more(self, x):
        self.calls += 1
        return self.draw()


KEPT = {
    Recurrent: "it keeps state from",
    Counting: "it keeps calls from",
    Averaging: r"it keeps body\.mean from",
    Caching: "it keeps window from",
    Generating: "it keeps noise from",
}


@pytest.mark.parametrize("made", KEPT)
def test_fp32_that_keeps_state_is_told_what_it_keeps(made):
    with pytest.raises(QuantStageError, match=f"FP32 depends on its earlier calls: .*{KEPT[made]}"):
        open_store(ONE_THREAD).fp32(toy_subject(made().eval()))


@pytest.mark.parametrize("made", [each for each in KEPT if each is not Recurrent])
def test_a_build_that_keeps_state_is_not_told_of_eval_mode(made):
    build = Recipe("custom", build=lambda model: made(), quantized=False)
    with pytest.raises(QuantStageError, match=rf"{KEPT[made]}.*start anew, and observers"):
        toy_variant(build)


@pytest.mark.parametrize(
    "draw",
    [lambda: torch.rand(()), lambda: np.random.rand(), random.random],
)
def test_what_draws_random_numbers_is_random_and_not_kept(draw):
    with pytest.raises(QuantStageError, match=r"FP32 is not deterministic.*dropout"):
        open_store(ONE_THREAD).fp32(toy_subject(Drawing(draw).eval()))
    with pytest.raises(QuantStageError, match=r"it draws random numbers.*leave out what is random"):
        toy_variant(Recipe("custom", build=lambda model: Drawing(draw), quantized=False))


@pytest.mark.filterwarnings("ignore")  # of PyTorch's eager mode
def test_observers_that_were_left_on_are_named():
    def build(model):
        made = nn.Sequential(ao.QuantStub(), *model).train()
        made.qconfig = ao.get_default_qat_qconfig("x86")
        ao.prepare_qat(made, inplace=True)(torch.full((4, 8), 0.05))
        return made.eval()

    with pytest.raises(QuantStageError, match=r"0\.activation_post_process.*disable_observer"):
        toy_variant(Recipe("custom", build=build, quantized=False))


def test_what_each_call_leaves_the_same_is_not_kept():
    model = tiny_linear()
    x = torch.ones(2, 8)

    def run(model):
        model.features = model(x)

    run(model)
    assert why_unlike(model, run).kept == []


class Fresh(Body):
    def more(self, x):
        return 0.1 * float(np.random.default_rng().normal())


class OddState(Body):
    def __init__(self):
        super().__init__()
        self.kind = torch.Generator  # a class, whose get_state wants an instance

    def more(self, x):
        return 0.1 * torch.rand(())


@pytest.mark.parametrize("made", [Outside, Fresh, OddState])
def test_what_cannot_be_seen_in_the_model_is_not_said_to_be_in_it(made):
    with pytest.raises(QuantStageError, match=r"FP32 is not deterministic: .*[Ll]ook for .*random"):
        open_store(ONE_THREAD).fp32(toy_subject(made().eval()))


class DrawsAndForgets(Body):
    """As layer drop that draws before it asks for the mode."""

    def more(self, x):
        return 0.0 if random.random() < 2 or np.random.random() < 2 else 1.0


@pytest.mark.parametrize(
    "recipe", ["dynamic", Recipe("custom", build=lambda m: m, quantized=False)]
)
def test_a_draw_of_numpy_or_python_that_changes_no_output_is_no_harm(recipe):
    toy_variant(recipe, model=DrawsAndForgets().eval())
