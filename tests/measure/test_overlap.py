"""Overlap: the larger of both shares counts, whoever did the tuning."""

import copy
import warnings

import pytest
import torch
from builders import ONE_THREAD, batches, open_store, toy_subject
from torch import nn

from pytest_quant import Recipe
from pytest_quant.errors import QuantStageError

X = torch.cat([x for x, _ in batches(256, seed=1)])


def data(inputs):
    return list(zip(inputs.split(64), torch.zeros(len(inputs)).long().split(64), strict=True))


def drawn(count, seed):
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))


def judged(recipe, **parts):
    subject = toy_subject(eval_data=data(X), **parts)
    return open_store(ONE_THREAD).variant(subject, recipe, recipe.kind)


@pytest.mark.parametrize(
    ("shared", "of", "is_refused"),
    [
        (256, 30_000, True),  # all of the eval data
        (3, 30_000, True),  # 1.2 % of it
        (2, 30_000, False),  # 0.8 %
        (1, 90, True),  # 1.1 % of the calibration data, 0.4 % of the eval data
        (1, 200, False),
    ],
)
def test_the_larger_of_both_shares_counts(shared, of, is_refused):
    calibration = torch.cat([drawn(of - shared, 5), X[:shared]])
    recipe = Recipe("static", calibration_samples=of, observer="minmax")
    variant = judged(recipe, calibration_data=data(calibration))
    if not is_refused:
        assert len(variant.evaluation) == 256
        return
    with pytest.raises(
        QuantStageError, match=f"eval data: {shared:,} of {of:,} samples of quant_cal"
    ):
        _ = variant.evaluation


def test_a_single_sample_of_a_small_eval_set_may_be_a_duplicate():
    calibration = torch.cat([drawn(300, 5), X[:1]])
    subject = toy_subject(eval_data=data(X[:40]), calibration_data=data(calibration))
    recipe = Recipe("static", calibration_samples=301)
    assert len(open_store(ONE_THREAD).variant(subject, recipe).evaluation) == 40


def fx_calibrated_on(inputs):
    def build(module):
        from torch.ao.quantization import get_default_qconfig_mapping
        from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            mapping = get_default_qconfig_mapping("x86")
            prepared = prepare_fx(copy.deepcopy(module), mapping, (inputs[:1],))
            for part in inputs.split(32):
                prepared(part)
            return convert_fx(prepared)

    return Recipe("custom", build=build)


def test_a_build_that_calibrates_on_eval_data_is_an_error():
    with pytest.raises(
        QuantStageError, match="tuned on eval data: 64 of 64 samples that its build"
    ):
        _ = judged(fx_calibrated_on(X[:64])).evaluation


def test_a_build_that_calibrates_on_other_data_is_fine():
    variant = judged(fx_calibrated_on(drawn(64, 5)))
    assert len(variant.evaluation) == 256
    assert len(variant.tuned_on) == 64


@pytest.mark.parametrize("strict", [True, False])
def test_a_build_may_trace_with_an_eval_sample(strict):
    def build(module):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.trace(module, X[:8])
            torch.export.export(module, (X[:8],), strict=strict)
        return torch.ao.quantization.quantize_dynamic(module, {nn.Linear}, torch.qint8)

    variant = judged(Recipe("custom", build=build))
    assert len(variant.evaluation) == 256
    assert any(note.startswith("what tuned it is not known: its build") for note in variant.notes)


def test_calls_are_as_before_once_the_users_code_is_over():
    usual = nn.Module.__call__
    with pytest.raises(QuantStageError, match="build raised"):
        judged(Recipe("custom", build=lambda module: 1 / 0))
    assert nn.Module.__call__ is usual
