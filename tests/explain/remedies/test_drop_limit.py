"""Drop limit: a drop is told in the unit in which its limit was given."""

import pytest
import torch
from builders import loss, planted_variant, right

from pytest_quant.explain.remedies.drop_limit import drop_limit
from pytest_quant.explain.remedies.hard_samples import hard_samples_of
from pytest_quant.judge.accuracy_drop import judge_drop
from pytest_quant.judge.verdict import Outcome


def told(variant, max_drop, relative):
    limit = drop_limit(variant, max_drop, relative, None)
    screen = hard_samples_of(variant, limit)
    for each in (variant.fp32, variant):
        _ = each.evaluation
    trial, screened = limit.trial(variant), screen.trial(variant) if screen else None
    return trial, screened, limit.shown(trial.value)


def test_a_drop_in_points():
    trial, screened, shown = told(planted_variant(right(200, 400), right(160, 400)), 0.01, False)
    assert (trial.passed, trial.value, screened.value) == (False, 0.1, 0.1)
    assert shown == "drop 10.00 pt"


def test_a_drop_as_a_share_of_fp32s_value_whether_screened_or_not():
    trial, screened, shown = told(planted_variant(right(200, 400), right(160, 400)), 0.01, True)
    assert (trial.passed, trial.value, screened.value) == (False, 0.2, 0.2)
    assert shown == "drop 20.00 % of FP32's"


def test_the_rise_of_a_perplexity_is_relative_and_no_rise_of_a_rise():
    metric = loss("perplexity", unit="perplexity")
    likelihoods = torch.zeros(100)
    variant = planted_variant([1.0] * 100, [1.5] * 100, metric=metric, targets=likelihoods)
    trial, screened, shown = told(variant, 0.01, False)
    assert trial.value == pytest.approx(0.6487, abs=1e-4)  # exp(0.5) - 1
    assert shown == "drop 64.87 %"
    assert screened is None


@pytest.mark.parametrize(
    ("samples", "scope", "holds"),
    [(400, "dataset", True), (400, "population", False), (20_000, "population", True)],
)
def test_in_the_population_a_limit_holds_where_the_eval_set_proves_it(samples, scope, holds):
    half, one = samples // 2, samples // 100
    variant = planted_variant(right(half, samples), right(half - one, samples))
    limit = drop_limit(variant, 0.02, False, None, scope, 0.05)
    trial = limit.trial(variant)
    assert (trial.passed, trial.value, trial.samples) == (holds, 0.01, samples)
    assert (judge_drop(variant, 0.02, scope=scope, alpha=0.05).outcome is Outcome.PASS) is holds
    said = () if scope == "dataset" else ('scope="population"', "alpha=0.05")
    assert limit.arguments == said
