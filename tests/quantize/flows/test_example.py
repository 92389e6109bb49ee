"""Example: the call that reaches the model, narrowed to what a tracer can take."""

import copy
from collections import namedtuple

import pytest
import torch
from quantizable import Answer, Answering, Two, anything, built, decibels, made, numbers
from torch import nn

from pytest_quant import QuantStageError, Recipe
from pytest_quant.quantize.flows.example import Example, calls_of, narrow

Pair = namedtuple("Pair", "logits hidden")
TRACING = pytest.mark.parametrize("flow", ["fx", "parts"])


class Flagged(Two):
    """What it computes depends on flags and numbers."""

    def forward(self, x, scale=1.0, /, double=False, *, mode="plain", mask=None):
        outputs = self.last(self.hidden(x)) * scale
        if double:
            outputs = outputs * 2
        if mask is not None:
            outputs = outputs * mask
        return outputs if mode == "plain" else -outputs


class Named(Two):
    def forward(self, x, *, bias, original=None, outputs=None):
        return self.last(self.hidden(x)) + bias + (0 if outputs is None else outputs)


class Nested(Two):
    def forward(self, inputs):
        return self.last(self.hidden(inputs["x"] + inputs["more"][0]))


class Variadic(Two):
    def forward(self, *parts, **more):
        return self.last(self.hidden(parts[0] + more["shift"]))


def both(module, x):
    """The outputs of two Linear layers."""
    hidden = module.hidden(x)
    return module.last(hidden), hidden


FORMS = {
    "tuple": tuple,
    "list": list,
    "dict": lambda pair: {"logits": pair[0], "more": [pair[1]]},
    "named tuple": lambda pair: Pair(*pair),
    "object": lambda pair: Answer(pair[0], (pair[1],), task="own"),
    "nested": lambda pair: {"out": Answer(pair[0], ({"deep": pair[1]},))},
}


def flagged(model, x):
    return model(x, 2.0, double=True, mode="minus", mask=None)


@TRACING
@pytest.mark.parametrize("kind", ["static", "qat"])
def test_flags_and_numbers_are_constants(kind, flow):
    variant = built(made(Flagged), Recipe(kind, flow=flow), numbers, forward=flagged)
    assert decibels(variant) > 20
    x = torch.randn(8, 8)
    if flow == "fx":
        assert torch.equal(flagged(variant, x), variant(x, 2.0, True, mode="minus"))


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda model, x: model(x, 3.0, double=True, mode="minus"), "scale=2.0"),
        (lambda model, x: model(x, 2.0, double=False, mode="minus"), "double=True"),
        (lambda model, x: model(x, 2.0, mode="minus"), "double=True"),
        (lambda model, x: model(x, 2.0, True), "mode='minus'"),
        (lambda model, x: model(x, 2.0, True, mode="minus", mask=x[:, :4]), "mask=None"),
    ],
)
def test_another_flag_than_the_one_traced_is_refused(call, named):
    variant = built(made(Flagged), "static", numbers, forward=flagged)
    for model in (variant, copy.deepcopy(variant.model)):
        with pytest.raises(TypeError, match=f"was traced with {named} and takes no other"):
            call(model, torch.randn(8, 8))


@TRACING
def test_arguments_may_be_named_none_or_left_out(flow):
    def batches(seed, sizes=(8, 8, 5)):
        return [
            ({"outputs": None, "bias": x[:, :4], "x": x}, targets)
            for x, targets in numbers(seed, sizes)
        ]

    variant = built(made(Named), Recipe("static", flow=flow), batches)
    assert decibels(variant) > 25
    x = torch.randn(3, 8)
    named = variant(x=x, bias=x[:, :4], outputs=None)
    assert torch.equal(variant(x, bias=x[:, :4]), named)
    with pytest.raises(TypeError, match="bias"):
        variant(x)


@pytest.mark.parametrize("kind", ["static", "qat"])
@pytest.mark.parametrize(
    ("make", "inputs_of"),
    [
        (Nested, lambda x: [{"x": x, "more": [0.1 * x]}]),
        (Variadic, lambda x: {"shift": 0.1 * x} | {"x": x}),
    ],
)
def test_nests_and_variadic_arguments(make, inputs_of, kind):
    def batches(seed, sizes=(8, 8, 5)):
        return [(inputs_of(x), targets) for x, targets in numbers(seed, sizes)]

    def forward(model, inputs):
        return model(*inputs) if make is Nested else model(inputs["x"], shift=inputs["shift"])

    variant = built(made(make), kind, batches, forward=forward)
    assert variant.recipe.flow == "fx"
    assert decibels(variant) > (25 if kind == "static" else 10)


@TRACING
@pytest.mark.parametrize("form", FORMS)
def test_outputs_keep_their_form(form, flow):
    class Formed(Two):
        def forward(self, x):
            return FORMS[form](both(self, x))

    variant = built(made(Formed), Recipe("static", flow=flow), numbers, metric=anything)
    x = torch.randn(3, 8)
    expected, outputs = variant.fp32(x), variant(x)
    assert shapes(outputs) == shapes(expected)
    assert decibels(variant) > 25


def shapes(value):
    """The same nest as types and values, with each tensor's shape in its place."""
    if isinstance(value, torch.Tensor):
        return value.shape
    if isinstance(value, list | tuple):
        return type(value), [shapes(item) for item in value]
    inner = value if isinstance(value, dict) else getattr(value, "__dict__", None)
    if inner is None:
        return value
    return type(value), {key: shapes(item) for key, item in inner.items()}


def test_the_template_of_an_output_object_is_no_ones_output():
    model = made(Answering)
    ids = torch.randint(0, 20, (2, 7))
    with torch.no_grad():
        answer = model(ids)
    rebuild = narrow(model, Example((ids,), {}, answer))
    assert rebuild.places == ["outputs.logits", "outputs.hidden[0]"]
    first = rebuild(model(ids))
    first.logits.fill_(7.0)
    first.task = "changed"
    second = rebuild(model(ids))
    assert second.task == "tag"
    assert torch.equal(second.logits, answer.logits)


def test_a_narrowed_model_is_still_called_by_its_class():
    model = made(Named)
    x = torch.randn(2, 8)
    narrow(model, Example((x,), {"bias": x[:, :4], "outputs": None}, None))
    assert type(model).__name__ == "Named"
    assert isinstance(model, Named)
    assert torch.equal(model(x, x[:, :4]), made(Named)(x, bias=x[:, :4]))


def test_calls_in_more_than_one_way_are_left_out_on_request():
    first, second, never = nn.Linear(2, 2), nn.MultiheadAttention(2, 1), nn.Linear(2, 2)
    x = torch.randn(3, 1, 2)
    modules = {"first": first, "second": second, "never": never}

    def run():
        first(x)
        first(x[:2])
        second(x, x, x, need_weights=False)
        second(x, x, x, need_weights=True)

    assert set(calls_of(modules, run)) == {"first", "second"}
    assert set(calls_of(modules, run, alike=True)) == {"first"}
    assert not any(module._forward_hooks for module in modules.values())


def test_a_forward_that_does_not_call_the_model_is_named():
    with pytest.raises(QuantStageError, match="quant_forward does not call the model"):
        built(made(Two), "static", numbers, forward=lambda model, x: x @ model.first.weight[:4].T)
