"""Hooks: those that look on are set aside and named, those that are a part of the model stay."""

import pytest
import torch
from builders import ONE_THREAD, batches, open_store, tiny_linear, toy_subject
from torch.nn.utils import prune

from pytest_quant import Recipe
from pytest_quant.errors import QuantStageError


def looks_on(module, args, output):
    """Changes nothing."""


def doubles(module, args, output):
    return output * 2


def admitted(model):
    return open_store(ONE_THREAD).fp32(toy_subject(model))


def test_a_hook_that_changes_nothing_is_set_aside_and_named():
    model = tiny_linear()
    model[2].register_forward_hook(looks_on)
    fp32 = admitted(model)
    assert not fp32.model[2]._forward_hooks
    assert len(model[2]._forward_hooks) == 1
    assert any("test_forward_hooks.looks_on) on 2; they change no" in note for note in fp32.notes)


def test_hooks_that_change_the_outputs_stay():
    model = tiny_linear()
    model[0].register_forward_hook(looks_on)
    model[2].register_forward_hook(doubles)
    fp32 = admitted(model)
    x = torch.ones(2, 8)
    assert torch.equal(fp32(x), model(x))
    assert len(fp32.model[0]._forward_hooks) == 1
    assert any(
        "test_forward_hooks.doubles) on 0, 2 that change its outputs" in note for note in fp32.notes
    )


def test_pytorchs_own_hooks_are_a_part_of_the_model():
    model = tiny_linear()
    prune.l1_unstructured(model[0], "weight", 0.5)
    fp32 = admitted(model)
    assert (fp32.model[0].weight == 0).sum() == 64  # as pruned, without the hook that does it
    assert not fp32.model[0]._forward_pre_hooks
    assert not [note for note in fp32.notes if "hooks" in note]


def test_hooks_for_all_modules_are_set_aside_and_given_back():
    called = []
    handle = torch.nn.modules.module.register_module_forward_hook(lambda *_: called.append(1))
    try:
        fp32 = admitted(tiny_linear())
        assert not called
        assert len(fp32.evaluation) == 32
        assert not called
        fp32.model(torch.ones(2, 8))
        assert called
    finally:
        handle.remove()
    assert any("for all modules of the process" in note for note in fp32.notes)


def test_a_model_whose_copies_run_the_original_is_refused():
    model = tiny_linear()
    model[0].forward = lambda x, old=model[0].forward: old(x)
    with pytest.raises(
        QuantStageError, match="a copy of quant_model computes with the original's 0"
    ):
        admitted(model)


def test_a_quant_forward_that_runs_another_model_is_refused():
    """A pipeline that was loaded beside the model, for example: every variant would give FP32's outputs."""
    other, model = tiny_linear(), tiny_linear()

    def given(forward):
        return open_store(ONE_THREAD).fp32(toy_subject(model, forward=forward))

    with pytest.raises(
        QuantStageError, match="quant_forward does not run the model that it is given"
    ):
        given(lambda module, x: other(x))
    for used in (
        lambda module, x: module(x),
        lambda module, x: module[2](other[1](other[0](x))),
        lambda module, x: torch.nn.functional.linear(other[:2](x), module[2].weight),
    ):
        assert len(given(used).evaluation) == 32


@pytest.mark.parametrize("kind", ["static", "qat"])
@pytest.mark.parametrize("flow", ["fx", "parts"])
def test_a_layer_with_a_hook_that_is_a_part_of_it_stays_fp32(kind, flow):
    """An int8 layer would have no hook, and be another one."""
    model = tiny_linear()
    model[0].register_forward_hook(doubles)
    subject = toy_subject(model, train_data=batches(seed=3))
    variant = open_store(ONE_THREAD).variant(subject, Recipe(kind, flow=flow))
    assert variant.int8_share.stayed_fp32 == ("0",)
    assert not [note for note in variant.notes if "kernel" in note]
