"""FP32 copy: what can be copied and quantized, in whatever floating point type it comes."""

import pytest
import torch
from builders import ONE_THREAD, batches, kept_db, open_store, tiny_linear, toy_subject
from torch import nn

from pytest_quant import Recipe
from pytest_quant.errors import QuantStageError
from pytest_quant.subject.fp32_copy import fp32_copy

X = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))


class Holder(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner, self.head = inner, nn.Linear(3, 3)

    def forward(self, x):
        return self.head(self.inner(x))


class InTwo(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x):
        left, right = x.chunk(2, 1)
        return self.first(left) + self.second(right) * x.shape[0]


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    ("made", "what"),
    [
        (torch.jit.script, "a TorchScript model .*scripted or traced"),
        (lambda model: torch.jit.trace(model, X), "a TorchScript model .*scripted or traced"),
        (lambda model: torch.jit.freeze(torch.jit.script(model)), "a TorchScript model"),
        (lambda model: Holder(torch.jit.script(model)), "holds a TorchScript model .*, inner,"),
        (lambda model: torch.export.export(model, (X,)), "a program of torch.export .*exported"),
        (lambda model: torch.export.export(model, (X,)).module(), "the graph of a program"),
        (lambda model: torch.export.export(InTwo(), (X,)).module(), "the graph of a program"),
    ],
)
def test_a_program_is_refused_by_its_name_with_what_to_give_instead(made, what):
    with pytest.raises(QuantStageError, match=f"fixture ERROR: quant_model .*{what}"):
        fp32_copy(made(tiny_linear()))


def test_a_traced_graph_of_layers_is_a_model_like_any_other():
    copied, notes = fp32_copy(torch.fx.symbolic_trace(tiny_linear()))
    assert not notes
    assert torch.equal(copied(X), tiny_linear()(X))


def on_meta(name):
    """The tiny model, one tensor of which has no values."""
    model = tiny_linear()
    owner, _, attribute = name.rpartition(".")
    tensor = getattr(model.get_submodule(owner), attribute)
    meta = nn.Parameter(torch.empty(tensor.shape, device="meta"))
    setattr(model.get_submodule(owner), attribute, meta)
    return model


def with_buffer_on_meta():
    model = tiny_linear()
    model.register_buffer("table", torch.empty(3, device="meta"))
    return model


@pytest.mark.parametrize(
    ("made", "what"),
    [
        (lambda: tiny_linear().to("meta"), r"0\.weight is on the device meta"),
        (lambda: on_meta("2.bias"), r"2\.bias is on the device meta"),
        (with_buffer_on_meta, r"table is on the device meta"),
        (lambda: nn.Sequential(nn.LazyLinear(3)), r"0\.weight is lazy"),
    ],
)
def test_a_model_without_weights_is_told_to_load_them(made, what):
    with pytest.raises(
        QuantStageError, match=rf"fixture ERROR: quant_model has no weights: {what}"
    ):
        fp32_copy(made())


class Named(nn.Module):
    """Takes a tensor by name, and a pair of them."""

    def __init__(self):
        super().__init__()
        self.body = tiny_linear()

    def forward(self, x, more):
        return self.body(x + more[0] - more[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("nested", [False, True])
def test_a_model_and_its_data_in_another_float_are_taken_as_float32(dtype, nested):
    def given(seed):
        low = [(x.to(dtype), y) for x, y in batches(64, seed)]
        return [({"x": x, "more": (x, x)}, y) for x, y in low] if nested else low

    model = (Named() if nested else tiny_linear()).to(dtype)
    subject = toy_subject(model, eval_data=given(1), calibration_data=given(2))
    store = open_store(ONE_THREAD)
    fp32, static = store.fp32(subject), store.variant(subject, Recipe("static"))
    assert kept_db(static) > 15
    assert next(fp32.model.parameters()).dtype is torch.float32
    name = str(dtype).removeprefix("torch.")
    assert f"quant_eval_data gives {name} inputs; they are cast to float32" in fp32.notes
    assert next(model.parameters()).dtype is dtype


def test_training_data_in_half_precision_trains():
    given = [(x.half(), y) for x, y in batches(32, 3)]
    subject = toy_subject(tiny_linear().half(), train_data=given)
    assert kept_db(open_store(ONE_THREAD).variant(subject, Recipe("qat", epochs=1))) > 10


class OfTwoTypes(nn.Module):
    def __init__(self, cast):
        super().__init__()
        self.body, self.head, self.cast = nn.Linear(8, 16).half(), nn.Linear(16, 3), cast

    def forward(self, x):
        return self.head(self.body(self.cast(self, x)).float())


def test_a_model_of_two_types_that_follows_its_weights_is_taken():
    model = OfTwoTypes(lambda own, x: x.to(own.body.weight.dtype))
    dynamic = open_store(ONE_THREAD).variant(toy_subject(model.eval()), Recipe("dynamic"))
    assert kept_db(dynamic) > 15


def test_a_model_that_casts_by_itself_is_told_to_follow_its_weights():
    model = OfTwoTypes(lambda own, x: x.half())
    with pytest.raises(QuantStageError, match=r"in float16 and is measured as float32.*x\.to\("):
        open_store(ONE_THREAD).fp32(toy_subject(model.eval()))
