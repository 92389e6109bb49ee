"""Parts: the outermost submodules that FX can trace, of a model that it cannot."""

import pytest
import torch
from quantizable import Branching, Convolutional, Two, built, decibels, made, nudge, numbers
from torch import nn

from pytest_quant import QuantStageError, Recipe

KINDS = pytest.mark.parametrize("kind", ["static", "qat"])
FAITHFUL = {"static": 25, "qat": 10}


def in_parts(kind="static", **options):
    return Recipe(kind, flow="parts", **options)


def positive(x):
    return bool(x.abs().sum() > 0)


class Block(nn.Module):
    """Traceable: two layers."""

    def __init__(self, inputs=8, outputs=16):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, outputs), nn.Linear(outputs, outputs)

    def forward(self, x):
        return torch.relu(self.last(torch.relu(self.first(x))))


class Sometimes(nn.Module):
    """Not traceable, with a block that can be, and one that no input of ours ever reaches."""

    def __init__(self):
        super().__init__()
        self.stem, self.rare, self.head = Block(), Block(16), nn.Linear(16, 4)

    def forward(self, x):
        x = self.stem(x)
        if not positive(x):
            x = self.rare(x)
        return self.head(x)


class Cell(nn.Module):
    """What it does depends on whether it has a state yet."""

    def __init__(self):
        super().__init__()
        self.inner, self.state = nn.Linear(8, 16), nn.Linear(16, 16)

    def forward(self, x, state=None):
        x = self.inner(x)
        return torch.relu(x if state is None else x + self.state(state))


class Looping(nn.Module):
    """One cell, first called without a state."""

    def __init__(self):
        super().__init__()
        self.cell, self.head = Cell(), nn.Linear(16, 4)

    def forward(self, x):
        state = None
        while state is None or state.abs().sum() < 1e-9 or not hasattr(x, "seen"):
            state = self.cell(x, state if state is None else 2 * state)
            x.seen = True
        state = self.cell(x, state)
        del x.seen
        return self.head(state)


class Sharing(nn.Module):
    """One block under two names."""

    def __init__(self):
        super().__init__()
        self.one, self.into, self.head = Block(16), nn.Linear(8, 16), nn.Linear(16, 4)
        self.two = self.one

    def forward(self, x):
        x = self.one(self.into(x))
        return self.head(self.two(x) if positive(x) else x)


class Attending(nn.Module):
    """Attention, called by name and with three inputs, between blocks in a list."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block(16)])
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        x = self.blocks[1](self.blocks[0](x))[:, None]
        if positive(x):
            x = x + self.attention(x, x, value=x, need_weights=False)[0]
        return self.head(x[:, 0])


def parts_of(variant):
    return [
        name
        for name, child in variant.model.named_modules()
        if isinstance(child, torch.fx.GraphModule)
    ]


@KINDS
def test_each_part_is_an_outermost_one(kind):
    variant = built(made(Sometimes), in_parts(kind), numbers)
    assert parts_of(variant) == ["stem", "head"]
    assert decibels(variant) > FAITHFUL[kind]
    assert type(variant.model) is Sometimes


def test_a_part_that_the_data_never_reaches_stays_fp32_and_is_named():
    share = built(made(Sometimes), in_parts(), numbers).int8_share
    stem, head = 8 * 16 + 16 * 16, 16 * 4  # what no call uses is named, and not counted
    assert share.parameters == (stem + head) / (stem + 32 + head + 4)
    assert share.macs == 1.0
    assert share.stayed_fp32 == ("rare.first", "rare.last")


@KINDS
def test_what_is_called_in_two_ways_is_taken_apart(kind):
    """Traced as it was called first, it would forget the state without a word."""
    variant = built(made(Looping), in_parts(kind), numbers)
    assert parts_of(variant) == ["cell.inner", "cell.state", "head"]
    assert decibels(variant) > FAITHFUL[kind]


@KINDS
def test_a_shared_part_is_the_same_one_everywhere(kind):
    variant = built(made(Sharing), in_parts(kind), numbers)
    assert variant.model.one is variant.model.two
    assert decibels(variant) > FAITHFUL[kind]


def test_a_shared_part_is_counted_once():
    variant = built(made(Sharing), in_parts(), numbers)
    weights, biases = 2 * 16 * 16 + 8 * 16 + 16 * 4, 2 * 16 + 16 + 4
    assert variant.int8_share.parameters == weights / (weights + biases)
    assert variant.size.tensor_bytes < weights + 24 * biases  # a channel's scale, zero point, bias


@KINDS
def test_attention_stays_whole_and_lists_are_looked_into(kind):
    variant = built(made(Attending), in_parts(kind), numbers)
    assert parts_of(variant) == ["blocks.0", "blocks.1", "head"]
    assert variant.int8_share.stayed_fp32 == ("attention", "attention.out_proj")
    assert decibels(variant) > FAITHFUL[kind]


@KINDS
@pytest.mark.parametrize(
    ("keep", "stayed", "parts"),
    [
        ("stem.last", ("stem.last", "rare.first", "rare.last"), ["stem", "head"]),
        ("stem", ("stem.first", "stem.last", "rare.first", "rare.last"), ["head"]),
        ("*.last", ("stem.last", "rare.first", "rare.last"), ["stem", "head"]),
        (Block, ("stem.first", "stem.last", "rare.first", "rare.last"), ["head"]),
        ("head", ("rare.first", "rare.last", "head"), ["stem"]),
    ],
)
def test_what_is_kept_fp32_is_kept_inside_parts_too(kind, keep, stayed, parts):
    model = made(Sometimes)
    variant = built(model, in_parts(kind, keep_fp32=keep), numbers)
    assert variant.int8_share.stayed_fp32 == stayed
    assert parts_of(variant) == parts
    assert decibels(variant) > FAITHFUL[kind]
    if kind == "static" and keep == "stem.last":
        assert torch.equal(variant.model.stem.last.weight, model.stem.last.weight)


def test_dropout_of_a_part_is_off_after_training():
    class Dropping(Sometimes):
        def __init__(self):
            super().__init__()
            self.stem = Functional()

    class Functional(Block):
        def forward(self, x):
            return nn.functional.dropout(super().forward(x), 0.5, self.training)

    variant = built(made(Dropping), in_parts("qat"), numbers)
    x = torch.randn(8, 8)
    for model in (variant.model, variant.fake_quantized):
        with variant.running():
            assert torch.equal(model(x), model(x))
    assert decibels(variant) > FAITHFUL["qat"]


def test_looking_at_calls_learns_nothing_and_leaves_the_mode():
    """Norms keep their statistics, and training goes on where it was."""
    modes = []

    def train(model):
        modes.extend(child.training for child in model.modules())
        for x, _ in [(torch.randn(8, 3, 12, 12), None)] * 2:
            model(x)
        nudge(model)

    model = made(Branching)
    variant = built(model, in_parts("qat"), train=train)
    assert all(modes)
    assert not any(child.training for child in variant.model.modules())


def test_a_model_of_parts_that_no_tracer_takes_is_an_error():
    class Inner(nn.Module):
        def forward(self, x):
            return x if positive(x) else -x

    with pytest.raises(QuantStageError, match="flow parts found no submodule that FX can trace"):
        built(made(lambda: nn.Sequential(Inner(), Inner())), in_parts(), numbers)


def test_a_model_that_fx_could_take_whole_may_be_taken_in_parts():
    assert parts_of(built(made(Convolutional), in_parts())) == ["conv", "fc"]
    assert parts_of(built(made(Two), in_parts(), numbers)) == ["first", "last"]


def test_a_batchnorm_behind_a_layer_that_stays_fp32_stays_fp32_too():
    model = built(made(Convolutional), Recipe("static", flow="parts", keep_fp32=("conv",)))
    assert parts_of(model) == ["fc"]
    assert type(model.model.norm) is nn.BatchNorm2d
