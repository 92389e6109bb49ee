"""PT2E: what runs is the compiled graph, in int8, on batches of any size."""

import copy
import io
import warnings
from functools import cache

import pytest
import torch
from quantizable import (
    CONV,
    FC,
    PARAMETERS,
    Answer,
    Answering,
    Convolutional,
    Two,
    anything,
    built,
    decibels,
    images,
    made,
    numbers,
    questions,
)
from torch import nn

from pytest_quant import QuantStageError, Recipe
from pytest_quant.machine.conditions import engine_set, known_warnings_silenced
from pytest_quant.quantize.flows import exported, kernel, pt2e
from pytest_quant.quantize.flows.example import Example

STATIC = Recipe("static", flow="pt2e")
DYNAMIC = Recipe("dynamic", flow="pt2e")


@pytest.fixture(scope="module")
def convolutional():
    """One static variant for many statements; none of them changes it."""
    return built(made(Convolutional, eps=1e-3), STATIC)


@pytest.fixture(scope="module")
def answering():
    """A model that gives an output object, by kind; none of the tests changes one."""
    return cache(lambda kind: built(made(Answering), Recipe(kind, flow="pt2e"), questions))


@pytest.fixture
def compilations(monkeypatch):
    """Shapes of what is compiled while the test runs."""
    shapes, compiled = [], exported.compiled

    def counted(graph, inputs, *more):
        shapes.append([tuple(tensor.shape) for tensor in inputs])
        return compiled(graph, inputs, *more)

    monkeypatch.setattr(exported, "compiled", counted)
    return shapes


def test_it_is_faithful_and_int8_by_the_users_names(convolutional):
    assert (convolutional.recipe.flow, convolutional.recipe.engine) == ("pt2e", "onednn")
    assert decibels(convolutional) > 35
    share = convolutional.int8_share
    assert share.parameters == (CONV + FC) / PARAMETERS
    assert (share.macs, share.stayed_fp32) == (1.0, ())
    assert convolutional.model.int8_modules == {"conv", "fc"}
    assert convolutional.model.without_kernel == 0


def test_no_fp32_weights_are_left(convolutional):
    """Each weight is a byte; each output channel has a scale, a zero point and a bias."""
    channels = 8 + 5
    size = CONV + FC + channels * (4 + 8 + 4)
    assert convolutional.size.tensor_bytes == size
    state = convolutional.model.state_dict()
    floats = [v for v in state.values() if isinstance(v, torch.Tensor) and v.is_floating_point()]
    assert max(tensor.numel() for tensor in floats) == 8


def test_what_runs_is_the_compiled_graph_and_stays_so(convolutional, compilations):
    x = images(4)[0][0]
    expected = convolutional(x)
    assert compilations == []  # it was compiled when it was built
    interpreted = convolutional.model.graph(x=x)
    assert not torch.equal(interpreted, expected)  # other roundings than the kernel's
    torch._dynamo.reset()
    torch.export.export(made(Two), (torch.randn(2, 8),))
    assert torch.equal(convolutional(x), expected)
    assert compilations == []


def test_a_kernel_is_called_and_not_the_graph(convolutional, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("the graph was interpreted")

    x = images(4)[0][0]
    convolutional(x)
    monkeypatch.setattr(type(convolutional.model.graph), "__call__", never)
    monkeypatch.setattr(convolutional.model.graph, "forward", never)
    assert convolutional(x).shape == (8, 5)


def test_smaller_batches_are_filled_up_instead_of_compiled(convolutional, compilations):
    whole = images(5)[0][0]
    outputs = convolutional(whole)
    for count in (1, 3, 7):
        assert torch.equal(convolutional(whole[:count]), outputs[:count])
    assert convolutional(whole[:0]).shape == (0, 5)
    assert [shapes for shapes in compilations if shapes[0][0]] == []


def test_a_larger_batch_is_compiled_once_and_smaller_ones_fill_it(compilations):
    variant = built(made(Two), STATIC, numbers)
    x = torch.randn(21, 8).clamp(-2, 2)
    assert decibels(variant, x) > 30
    assert torch.equal(variant(x[:9]), variant(x)[:9])
    assert torch.equal(variant(x[:2]), variant(x)[:2])
    assert compilations == [[(8, 8)], [(21, 8)]]
    assert decibels(variant, torch.randn(40, 8).clamp(-2, 2)) > 30


def test_a_first_batch_of_one_sample_does_not_bind_the_graph():
    def batches(seed, sizes=(1, 1, 1)):
        return numbers(seed, sizes)

    variant = built(made(Two), STATIC, batches)
    x = torch.randn(5, 8).clamp(-2, 2)
    assert decibels(variant, x) > 30


def test_train_and_eval_change_nothing(convolutional):
    x = images(4)[0][0]
    expected = convolutional(x)
    assert convolutional.model.train() is convolutional.model
    assert convolutional.model.eval() is convolutional.model
    assert not convolutional.model.training
    assert torch.equal(convolutional(x), expected)


def test_a_deep_copy_gives_the_same_bits(convolutional, compilations):
    copied = copy.deepcopy(convolutional.model)
    with convolutional.running():
        for x, _ in images(4):
            assert torch.equal(copied(x), convolutional.model(x))
    assert len(compilations) == 1
    assert copied.int8_modules == convolutional.model.int8_modules


def test_inputs_may_lie_in_memory_as_they_like(convolutional, compilations):
    x = images(4)[0][0]
    expected = convolutional(x)
    wide = torch.randn(8, 3, 12, 24)
    wide[..., ::2] = x
    for other in (x.to(memory_format=torch.channels_last), wide[..., ::2]):
        assert not other.is_contiguous()
        assert torch.equal(convolutional(other), expected)
    assert compilations == []


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_an_output_object_keeps_its_type_and_all_else_in_it(answering, kind):
    variant = answering(kind)
    assert decibels(variant) > 30
    inputs = variant.admitted.first_inputs
    answer = variant(**inputs)
    assert (type(answer), answer.task, answer.loss) == (Answer, "tag", None)
    assert [hidden.shape for hidden in answer.hidden] == [(8, 7, 16)]
    short = variant(**{name: tensor[:3] for name, tensor in inputs.items()})
    assert short.logits.shape == (3, 4)
    assert torch.allclose(short.logits, answer.logits[:3], atol=0.01)
    embedding, inner, head = 20 * 16, 16 * 16, 16 * 4
    share = variant.int8_share
    assert share.parameters == (inner + head) / (embedding + inner + 16 + head + 4)
    assert share.stayed_fp32 == ("embed",)
    with pytest.raises(
        TypeError, match="exported with, input_ids, attention_mask; given input_ids"
    ):
        variant(inputs["input_ids"])


def test_ids_of_another_type_are_not_misread(answering):
    variant = answering("static")
    inputs = variant.admitted.first_inputs
    narrow = inputs | {"input_ids": inputs["input_ids"].int()}
    assert torch.equal(variant(**narrow).logits, variant(**inputs).logits)


def test_flags_and_numbers_are_constants():
    class Flagged(Two):
        def forward(self, x, scale=1.0, *, double=False, mode="plain"):
            outputs = super().forward(x) * scale
            return outputs * 2 if double else outputs

    def forward(model, x):
        return model(x, 0.5, double=True)

    variant = built(made(Flagged), STATIC, numbers, forward=forward)
    assert decibels(variant) > 30
    for call in (lambda x: variant(x, 0.7, double=True), lambda x: variant(x, 0.5), variant):
        with pytest.raises(TypeError, match=r"exported with, x, scale=0\.5, double=True; given x"):
            call(torch.randn(8, 8))


def test_a_range_that_is_found_as_activations_come_holds_zero():
    """Inductor's own would clip what is positive throughout to a part of it."""

    class Positive(Two):
        def forward(self, x):
            return self.last(3 + torch.sigmoid(self.first(x)))

    variant = built(made(Positive), DYNAMIC, numbers)
    assert decibels(variant) > 35
    negative = built(made(Positive), DYNAMIC, numbers, forward=lambda model, x: model(-9 - x.abs()))
    assert decibels(negative) > 35


def test_outputs_that_are_no_rows_of_samples_are_computed_batch_by_batch(compilations):
    class Summing(Two):
        def forward(self, x):
            outputs = super().forward(x)
            return outputs, outputs.square().mean()

    variant = built(made(Summing), STATIC, numbers, metric=anything)
    for x, _ in variant.subject.eval_data:
        outputs, mean = variant(x)
        assert torch.allclose(mean, outputs.square().mean())
        assert decibels(variant, x) > 25
    assert compilations == [[(8, 8)], [(5, 8)]]


def test_a_number_may_be_added_behind_a_linear_layer():
    class Shifted(Two):
        def forward(self, x):
            return 1 + super().forward(x + 0.5)

    variant = built(made(Shifted), STATIC, numbers)
    assert decibels(variant, variant.subject.eval_data[0][0]) > 25
    assert not variant.int8_share.stayed_fp32


def test_a_batch_size_that_the_model_fixes_is_kept_to(compilations):
    class Fixed(Two):
        def forward(self, x):
            return super().forward(x.reshape(8, 8))

    def batches(seed, sizes=(8, 8)):
        return numbers(seed, (8, 8))

    variant = built(made(Fixed), STATIC, batches)
    assert variant.model.size == 8
    x = torch.randn(21, 8)
    chunks = [variant(x[:8]), variant(x[8:16]), variant(torch.cat([x[16:], x[16:19]]))[:5]]
    assert torch.equal(variant(x), torch.cat(chunks))
    assert compilations == [[(8, 8)]]


def test_nothing_is_warned_of_printed_or_logged(capfd, caplog):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        variant = built(made(Two, seed=7), STATIC, numbers)
        variant(torch.randn(8, 8))
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_its_state_can_be_saved_and_taken_over(convolutional):
    other = built(made(Convolutional, seed=5), STATIC)
    file = io.BytesIO()
    with known_warnings_silenced():
        torch.save(convolutional.model.state_dict(), file)
        file.seek(0)
        other.model.load_state_dict(torch.load(file, weights_only=True))
    x = images(4)[0][0]
    assert torch.equal(other(x), convolutional(x))
    with pytest.raises(ValueError, match="the quantized graph has other nodes"):
        other.model.set_extra_state({})


def test_what_inductor_cannot_compile_is_a_sentence(convolutional):
    with pytest.raises(QuantStageError, match="compile ERROR: inductor could not compile"):
        kernel.compiled(convolutional.model.graph, [torch.randn(8, 4)], convolutional.model.form)


def test_a_layer_kept_fp32_keeps_its_bits():
    model = made(Two)
    variant = built(model, Recipe("static", flow="pt2e", keep_fp32="last"), numbers)
    assert variant.int8_share.stayed_fp32 == ("last",)
    assert torch.equal(variant.model.state_dict()["graph.last.weight"], model.last.weight)
    assert "graph.first.weight" not in variant.model.state_dict()
    with pytest.raises(QuantStageError, match="flow pt2e found nothing to quantize"):
        built(model, Recipe("static", flow="pt2e", keep_fp32=nn.Linear), numbers)


def test_an_embedding_that_shares_its_weight_with_an_int8_head_is_not_int8():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.head = nn.Embedding(20, 8), nn.Linear(8, 20, bias=False)
            self.head.weight = self.words.weight

        def forward(self, ids):
            return self.head(self.words(ids))

    model, ids = made(Tied), torch.arange(8).view(4, 2)
    example = Example((ids,), {}, model(ids).detach())
    with known_warnings_silenced(), engine_set("onednn"):
        prepared = pt2e.prepare(model, STATIC, "onednn", example)
        prepared(ids)
        assert pt2e.convert(prepared, example).int8_modules == {"head"}


@pytest.mark.parametrize("kind", ["static", "qat"])
def test_arithmetic_of_integers_is_not_observed(kind):
    """As RoBERTa's, which counts the places of words."""

    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.places, self.head = nn.Embedding(20, 8), nn.Linear(8, 3)

        def forward(self, ids):
            mask = ids.ne(0).int()
            places = (torch.cumsum(mask, 1).type_as(mask) + 0) * mask
            return self.head(self.places(places))

    model, ids = made(Counting), torch.arange(12).view(4, 3) % 5
    example = Example((ids,), {}, model(ids).detach())
    recipe = Recipe(kind, flow="pt2e")
    with known_warnings_silenced(), engine_set("onednn"):
        prepared = pt2e.prepare(model, recipe, "onednn", example)
        outputs = prepared(ids)
        assert torch.allclose(outputs, model(ids), atol=0.1)
        if kind == "qat":
            outputs.sum().backward()
        assert pt2e.convert(prepared, example).int8_modules == {"head"}


def test_an_input_that_is_added_to_stays_what_it_is():
    """Inductor has kernels that add to what is there already."""

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, x):
            return x + self.layer(x.sin())

    variant = built(made(Residual), STATIC, numbers, metric=anything)
    x = variant.admitted.first_inputs
    before = x.clone()
    outputs = variant(x)
    assert torch.equal(x, before)
    assert torch.equal(variant(x), outputs)
    assert decibels(variant) > 30
