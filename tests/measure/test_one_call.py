"""What one call of FP32 multiplies and uses: by called layers, by functions, by nothing at all."""

from contextlib import nullcontext

import pytest
import torch
from builders import toy_subject, toy_variant
from torch import nn
from torch.utils.data import DataLoader

from pytest_quant import Recipe
from pytest_quant.machine.conditions import Conditions
from pytest_quant.measure.one_call import multiply_adds, one_call
from pytest_quant.store.open import open_store

BATCH = 16


class Reads(nn.Module):
    """8 -> 16 by a Linear that is called, -> 3 by one that is not."""

    def __init__(self, by_name=False):
        super().__init__()
        torch.manual_seed(0)
        self.called, self.read = nn.Linear(8, 16), nn.Linear(16, 3)
        self.by_name = by_name

    def forward(self, x):
        x = torch.relu(self.called(x))
        if self.by_name:
            return nn.functional.linear(x, weight=self.read.weight, bias=self.read.bias)
        return nn.functional.linear(x, self.read.weight, self.read.bias)


class Transposed(nn.Module):
    """Two layers, of which one is called twice, and the other's weight taken by an operator."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.first(self.first(x)) @ self.last.weight.T


class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Reads()

    def forward(self, x):
        return self.inner(x) if x.sum() != 0 else self.inner(-x)


def macs_of(module):
    return multiply_adds(open_store(Conditions(threads=1)).fp32(toy_subject(module.eval())))


def test_a_layer_that_is_read_is_counted_like_one_that_is_called():
    expected = {"called": BATCH * 8 * 16, "read": BATCH * 16 * 3}
    assert macs_of(Reads()) == expected
    assert macs_of(Reads(by_name=True)) == expected


def test_a_call_is_counted_once_and_an_operator_by_whose_weight_it_takes():
    assert macs_of(Transposed()) == {"first": 2 * BATCH * 8 * 8, "last": BATCH * 8 * 3}


F = nn.functional
N = BATCH  # rows of 8 numbers


class Function(nn.Module):
    """Parameters of its own, and what `what` makes of them and x [n, 8]."""

    def __init__(self, what, **shapes):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        for name, shape in shapes.items():
            setattr(self, name, nn.Parameter(torch.randn(shape, generator=generator)))
        self.what = what

    def forward(self, x):
        return self.what(self, x).flatten(1)[:, :3]


def attention(_, x):
    tokens = x.view(-1, 1, 4, 2)  # one head, 4 tokens of 2
    return F.scaled_dot_product_attention(tokens, tokens, tokens)


# multiply-adds by hand: of operators that take a parameter, and of the others
FUNCTIONS = {
    "F.linear": (lambda m, x: F.linear(x, m.w), {"w": (5, 8)}, N * 8 * 5, 0),
    "addmm": (lambda m, x: torch.addmm(m.b, x, m.w), {"w": (8, 5), "b": (5,)}, N * 8 * 5, 0),
    "matmul": (lambda m, x: x @ m.w, {"w": (8, 5)}, N * 8 * 5, 0),
    "einsum": (lambda m, x: torch.einsum("ni,ij->nj", x, m.w), {"w": (8, 5)}, N * 8 * 5, 0),
    "tensordot": (lambda m, x: torch.tensordot(x, m.w, 1), {"w": (8, 5)}, N * 8 * 5, 0),
    "of vectors": (lambda m, x: (x @ m.w)[:, None].expand(-1, 3), {"w": (8,)}, N * 8, 0),
    "F.conv1d": (
        lambda m, x: F.conv1d(x.view(-1, 2, 4), m.w, padding=1),
        {"w": (3, 2, 3)},
        N * 4 * 3 * 2 * 3,
        0,
    ),
    "F.conv2d, grouped": (
        lambda m, x: F.conv2d(x.view(-1, 2, 2, 2), m.w, groups=2),
        {"w": (4, 1, 2, 2)},
        N * 4 * 4,
        0,
    ),
    "F.conv_transpose1d": (
        lambda m, x: F.conv_transpose1d(x.view(-1, 2, 4), m.w),
        {"w": (2, 3, 2)},
        N * 4 * 2 * 3 * 2,
        0,
    ),
    "F.bilinear": (lambda m, x: F.bilinear(x, x, m.w), {"w": (5, 8, 8)}, N * 5 * 8 * 8, 0),
    "computed kernel": (
        lambda m, x: F.conv1d(x.view(-1, 2, 4), m.w * x.mean()),
        {"w": (3, 2, 1)},
        0,
        N * 4 * 3 * 2,
    ),
    "attention": (attention, {}, 0, N * 4 * 4 * (2 + 2)),
    "two activations": (lambda _, x: x @ x.T @ x, {}, 0, 2 * N * N * 8),
}


@pytest.mark.parametrize(
    ("what", "shapes", "owned", "unassigned"), FUNCTIONS.values(), ids=FUNCTIONS
)
@pytest.mark.parametrize("inference", [False, True], ids=["", "inference mode of the user's"])
def test_operators_are_counted_in_functions_too(what, shapes, owned, unassigned, inference):
    def call(model, x):
        with torch.inference_mode() if inference else nullcontext():
            return model(x)

    subject = toy_subject(Function(what, **shapes).eval(), forward=call)
    found = one_call(open_store(Conditions(threads=1)).fp32(subject))
    assert (sum(found.functions.values()), found.unassigned) == (owned, unassigned)


def test_what_cannot_be_assigned_stays_float():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            return self.head(x @ x.T @ x / 100)

    share = toy_variant("dynamic", model=Net().eval()).int8_share
    assert share.macs == N * 8 * 3 / (N * 8 * 3 + 2 * N * N * 8)


class Idle(nn.Module):
    """One layer that is used and two that are not, of which one is read without a call."""

    def __init__(self):
        super().__init__()
        self.body, self.read = nn.Linear(8, 16), nn.Linear(16, 3)
        self.teacher = nn.Sequential(nn.Linear(8, 500), nn.BatchNorm1d(500))

    def forward(self, x):
        return self.body(x) @ self.read.weight.T


@pytest.mark.parametrize("kind", ["fp32", "dynamic", "static"])
def test_what_no_call_uses_counts_nowhere_and_is_named(kind):
    model = Idle().eval()
    variant = toy_variant(Recipe("dynamic" if kind == "fp32" else kind), model=model)
    fp32 = variant.fp32
    assert one_call(variant).idle == ("teacher",)
    assert fp32.size.tensor_bytes == 4 * (8 * 16 + 16 + 16 * 3 + 3)
    assert any("no call uses teacher: 0.03 MB" in note for note in fp32.notes)
    if kind != "fp32":
        assert variant.size.tensor_bytes < fp32.size.tensor_bytes
        assert variant.int8_share.parameters == 8 * 16 / (8 * 16 + 16 + 16 * 3 + 3)


class Expert(nn.Module):
    """A router, experts for samples whose first number is below and above zero, and one for none."""

    def __init__(self):
        super().__init__()
        self.router = nn.Linear(8, 3)
        self.experts = nn.ModuleList(nn.Linear(8, width) for width in (40, 50, 60))

    def forward(self, x):
        out = self.router(x)
        for expert, chosen in zip(
            self.experts, (x[:, 0] < 0, x[:, 0] > 0, x[:, 0] > 99), strict=True
        ):
            if chosen.any():
                out = out + 0.01 * expert(x)[:, :3] * chosen[:, None]
        return out


def sorted_batches(seed):
    """In all but the last, no first number is above zero."""
    random = torch.Generator().manual_seed(seed)
    found = torch.randn(8, 16, 8, generator=random).abs()
    return [(x if i == 7 else -x, torch.zeros(16).long()) for i, x in enumerate(found)]


@pytest.mark.parametrize("as_loader", [False, True])
def test_an_expert_that_later_batches_call_counts(as_loader):
    data = sorted_batches(1)
    given = DataLoader(data, batch_size=None) if as_loader else data
    subject = {"model": Expert().eval(), "eval_data": given}
    kept = toy_variant(Recipe("dynamic", keep_fp32=("experts.*",)), **subject)
    assert one_call(kept).idle == ("experts.2",)
    first, second = 8 * 40, 8 * 50
    assert multiply_adds(kept)["experts.1"] == BATCH * second
    used = 8 * 3 + 3 + first + 40 + second + 50
    assert kept.fp32.size.tensor_bytes == 4 * used
    assert kept.int8_share.parameters == pytest.approx(8 * 3 / used)
    assert kept.int8_share.macs == pytest.approx(8 * 3 / (8 * 3 + first + second))


def test_where_time_is_up_the_note_says_how_many_batches_were_looked_at(monkeypatch):
    monkeypatch.setattr("pytest_quant.measure.one_call.SECONDS", 0.0)
    kept = toy_variant("dynamic", model=Expert().eval(), eval_data=sorted_batches(1))
    assert (one_call(kept).idle, one_call(kept).maybe_idle) == ((), ("experts.1", "experts.2"))
    every = sum(parameter.numel() for parameter in Expert().parameters())
    assert kept.fp32.size.tensor_bytes == 4 * every
    assert (
        "the first 1 eval batches do not use experts.1, experts.2: 0.00 MB that count all the same"
        in str(kept.fp32.notes)
    )


def test_layers_in_a_plain_list_are_not_said_to_stay_float_where_a_graph_takes_them():
    class Listing(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers, self.head = [nn.Linear(8, 64), nn.Linear(64, 8)], nn.Linear(8, 3)

        def forward(self, x):
            for layer in self.layers:
                x = torch.relu(layer(x))
            return self.head(x)

    graph = toy_variant(Recipe("static", flow="pt2e"), model=Listing().eval())
    assert graph.int8_share.parameters > 0.9
    assert graph.int8_share.macs is None
    assert toy_variant("dynamic", model=Listing().eval()).int8_share.macs == pytest.approx(
        24 / (24 + 2 * 8 * 64)
    )


class TiedTo(nn.Module):
    """A head with the weight of an embedding; x are read as ids."""

    def __init__(self, kind):
        super().__init__()
        self.first, self.takes_ids = kind, isinstance(kind, nn.Embedding)
        self.head = nn.Linear(8, 20, bias=False)
        self.head.weight = kind.weight

    def forward(self, x):
        if self.takes_ids:
            return self.head(self.first((x[:, 0].abs() * 5).long().clamp(0, 19)))
        return self.head(self.first(x)[:, :8])


def test_tied_weights_count_once_and_as_int8_when_all_their_users_are():
    both = toy_variant("dynamic", model=TiedTo(nn.Embedding(20, 8)).eval())
    assert both.int8_share.parameters == 1.0
    linear = nn.Linear(8, 20, bias=False)
    kept = toy_variant(Recipe("dynamic", keep_fp32=("first",)), model=TiedTo(linear).eval())
    assert kept.int8_share.parameters == 0.0


def test_dynamic_quantization_leaves_it_fp32():
    variant = toy_variant("dynamic", model=Reads().eval())
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(variant(x), variant.fp32(x), atol=0.05)
    assert variant.int8_share.stayed_fp32 == ("read",)
    assert variant.int8_share.macs == 8 * 16 / (8 * 16 + 16 * 3)


@pytest.mark.parametrize("flow", ["fx", "parts"])
def test_static_quantization_takes_it_and_knows_whose_it_is(flow):
    model = Reads() if flow == "fx" else Outer()
    share = toy_variant(Recipe("static", flow=flow), model=model.eval()).int8_share
    assert share.stayed_fp32 == ()
    assert share.macs == 1.0


@pytest.mark.slow
def test_so_does_a_compiled_graph():
    share = toy_variant(Recipe("static", flow="pt2e"), model=Reads().eval()).int8_share
    assert share.stayed_fp32 == ()
    assert share.macs == 1.0


def test_a_layer_that_is_kept_is_not_said_to_be_int8():
    recipe = Recipe("static", flow="fx", keep_fp32="called")
    assert toy_variant(recipe, model=Reads().eval()).int8_share.stayed_fp32 == ("called",)
