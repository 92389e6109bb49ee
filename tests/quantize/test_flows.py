"""Flows: what each of them makes of tiny models, by numbers counted by hand."""

import copy

import pytest
import torch
from quantizable import (
    CONV,
    CONV_MACS,
    FC,
    FC_MACS,
    PARAMETERS,
    Answer,
    Answering,
    Branching,
    Convolutional,
    Stubbed,
    Tagger,
    anything,
    built,
    decibels,
    decibels_of_conversion,
    images,
    made,
    questions,
    subject_of,
    tokens,
)
from torch import nn

from pytest_quant import QuantStageError, Recipe

BOTH = (CONV + FC) / PARAMETERS, 1.0, ()
LAST = FC / PARAMETERS, FC_MACS / (CONV_MACS + FC_MACS)
FIRST = CONV / PARAMETERS, CONV_MACS / (CONV_MACS + FC_MACS)
KEPT = {"keep_fp32": ("fc",)}
# model, recipe -> flow, int8 share of parameters and multiply-adds, what stayed FP32
MADE = [
    (Convolutional, Recipe("dynamic"), "eager", *LAST, ("conv",)),
    (Convolutional, Recipe("static"), "fx", *BOTH),
    (Convolutional, Recipe("static", **KEPT), "fx", *FIRST, ("fc",)),
    (Convolutional, Recipe("static", keep_fp32=(nn.Conv2d,)), "fx", *LAST, ("conv",)),
    (Convolutional, Recipe("qat"), "fx", *BOTH),
    (Convolutional, Recipe("qat", **KEPT), "fx", *FIRST, ("fc",)),
    (Convolutional, Recipe("static", flow="parts"), "parts", *BOTH),
    (Convolutional, Recipe("qat", flow="parts"), "parts", *BOTH),
    (Branching, Recipe("dynamic"), "eager", *LAST, ("conv",)),
    (Branching, Recipe("static", flow="parts", **KEPT), "parts", *FIRST, ("fc",)),
    (Branching, Recipe("qat", flow="parts", **KEPT), "parts", *FIRST, ("fc",)),
    (Stubbed, Recipe("dynamic"), "eager", *LAST, ("stem.0",)),
    (Stubbed, Recipe("static"), "eager", *BOTH),
    (Stubbed, Recipe("static", flow="fx"), "fx", *BOTH),
    (Stubbed, Recipe("qat"), "eager", *BOTH),
    (Stubbed, Recipe("static", **KEPT), "eager", *FIRST, ("fc",)),
    (Stubbed, Recipe("qat", **KEPT), "eager", *FIRST, ("fc",)),
    (Stubbed, Recipe("static", keep_fp32=("stem",)), "eager", *LAST, ("stem.0",)),
    (Stubbed, Recipe("static", keep_fp32=("stem.0",)), "eager", *LAST, ("stem.0",)),
]
FAITHFUL = {"dynamic": 40, "static": 25, "qat": 10}  # dB; QAT also learns


def name_of(value):
    return value.label if isinstance(value, Recipe) else getattr(value, "__name__", None)


@pytest.mark.parametrize(
    ("make", "recipe", "flow", "parameters", "macs", "stayed"), MADE, ids=name_of
)
def test_what_is_made_is_faithful_and_as_int8_as_it_says(
    make, recipe, flow, parameters, macs, stayed
):
    variant = built(made(make), recipe)
    assert (variant.recipe.flow, variant.recipe.engine) == (flow, "x86")
    assert variant.notes == []
    share = variant.int8_share
    assert (share.parameters, share.macs, share.stayed_fp32) == (parameters, macs, stayed)
    assert len(variant.evaluation) == 21  # the short last batch too
    for inputs, _ in variant.subject.eval_data:
        assert decibels(variant, inputs) > FAITHFUL[recipe.kind]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("make", "flow"), [(Convolutional, "fx"), (Stubbed, "eager"), (Branching, "parts")]
)
def test_qats_converted_model_computes_what_the_fake_quantized_one_does(make, flow, seed):
    variant = built(made(make, seed=seed), Recipe("qat", flow=flow))
    assert decibels_of_conversion(variant) > 25
    assert not variant.fake_quantized.training


def scales_of(model):
    """By shape of the weight: the scales of its rows, fake-quantized or in int8."""
    found = {}
    for module in model.modules():
        if hasattr(module, "weight_fake_quant"):
            found[module.weight.shape] = module.weight_fake_quant.scale.double()
        elif "quantized" in type(module).__module__ and hasattr(module, "weight"):
            found[module.weight().shape] = module.weight().q_per_channel_scales()
    return found


@pytest.mark.parametrize(
    ("make", "flow"), [(Convolutional, "fx"), (Branching, "parts"), (Stubbed, "eager")]
)
def test_the_weights_of_qat_are_rounded_on_the_grid_that_they_were_trained_for(make, flow):
    variant = built(made(make), Recipe("qat", flow=flow))
    trained, converted = scales_of(variant.fake_quantized), scales_of(variant.model)
    assert trained.keys() == converted.keys()
    assert len(trained) == 2
    assert all(torch.equal(trained[shape], converted[shape]) for shape in trained)


def test_the_kernels_of_qat_in_pt2e_compute_what_was_trained():
    variant = built(made(Convolutional), Recipe("qat", flow="pt2e"))
    assert decibels_of_conversion(variant) > 100  # 46 to 50 on the grid of PyTorch's conversion


@pytest.mark.parametrize("flow", ["fx", "parts"])
@pytest.mark.parametrize("kind", ["static", "qat"])
def test_an_output_object_keeps_its_type_and_all_else_in_it(kind, flow):
    recipe = Recipe(kind, flow=flow)
    variant = built(made(Answering), recipe, questions)
    assert decibels(variant) > 25
    answer = variant(**variant.admitted.first_inputs)
    assert type(answer) is Answer
    assert (answer.task, answer.loss) == ("tag", None)
    assert answer.logits.shape == (8, 4)
    assert [hidden.shape for hidden in answer.hidden] == [(8, 7, 16)]


def test_an_output_object_is_a_new_one_at_each_call():
    variant = built(made(Answering), "static", questions)
    (first, _), (second, _) = tokens(1)[:2]
    mask = torch.ones(8, 7)
    answers = [variant(input_ids=ids, attention_mask=mask) for ids in (first, second)]
    assert answers[0] is not answers[1]
    assert not torch.equal(answers[0].logits, answers[1].logits)


def test_an_embedding_becomes_int8_in_fx():
    share = built(made(Answering), "static", questions).int8_share
    embedding, inner, head = 20 * 16, 16 * 16, 16 * 4
    assert share.parameters == (embedding + inner + head) / (embedding + inner + 16 + head + 4)
    assert share.stayed_fp32 == ()


def test_dynamic_takes_recurrent_layers_and_static_names_what_it_leaves():
    model = made(Tagger)
    lstm, total = 2 * 4 * 8 * (8 + 8), sum(p.numel() for p in model.parameters())
    dynamic = built(model, "dynamic", tokens, metric=anything)
    assert dynamic.int8_share.parameters == (20 * 8 + lstm + 16 * 4) / total
    assert decibels(dynamic) > 30
    static = built(model, Recipe("static", flow="fx"), tokens, metric=anything)
    assert static.int8_share.stayed_fp32 == ("lstm",)
    assert static.int8_share.parameters == (20 * 8 + 16 * 4) / total


@pytest.mark.parametrize("kind", ["dynamic", "static", "qat"])
@pytest.mark.parametrize("make", [Convolutional, Stubbed, Branching])
def test_the_users_model_stays_as_it_was(make, kind):
    model = made(make)
    model.train()
    before = copy.deepcopy(model.state_dict())
    flow = "parts" if make is Branching and kind != "dynamic" else "auto"
    variant = built(model, Recipe(kind, flow=flow))
    assert variant.int8_share.parameters > 0
    assert model.training
    assert type(model) is make
    assert {k: v.tolist() for k, v in model.state_dict().items()} == {
        k: v.tolist() for k, v in before.items()
    }
    assert not any(hasattr(child, "qconfig") for child in model.modules())


@pytest.mark.parametrize("flow", ["fx", "eager", "parts"])
def test_two_builds_give_the_same_bits(flow):
    make = {"fx": Convolutional, "eager": Stubbed, "parts": Branching}[flow]
    x = images(9)[0][0]
    outputs = [built(made(make), Recipe("qat", flow=flow))(x) for _ in range(2)]
    assert torch.equal(*outputs)


@pytest.mark.parametrize("flow", ["fx", "parts", "pt2e"])
def test_a_model_without_anything_to_quantize_is_an_error(flow):
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Bilinear(12, 12, 4)

        def forward(self, x):
            return self.inner(x[:, 0, 0], x[:, 1, 1])

    with pytest.raises(QuantStageError, match=f"prepare ERROR: flow {flow} found no"):
        built(made(Plain), Recipe("static", flow=flow))


def test_a_pattern_that_matches_no_module_is_an_error_in_every_flow():
    subject = subject_of(made(Stubbed))
    for flow in ("eager", "fx", "parts", "pt2e"):
        with pytest.raises(QuantStageError, match=r"keep_fp32 'fcc' matches no module.*like quant"):
            built(subject.model, Recipe("static", flow=flow, keep_fp32="fcc"))
