"""Accuracy and flips: exact on the samples given, in the direction that the metric says."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from builders import loss, planted_variant, reward, right, score_of, toy_variant
from torch.utils.data import TensorDataset

from pytest_quant import (
    Metric,
    Outcome,
    QuantStageError,
    Recipe,
    assert_max_accuracy_drop,
    assert_max_flips,
)
from pytest_quant.judge.accuracy_drop import judge_drop
from pytest_quant.judge.exact_mean import exact_mean
from pytest_quant.judge.flips import judge_flips
from pytest_quant.variant.evaluation import by_class

PASS, FAIL = Outcome.PASS, Outcome.FAIL


def drop_of(before, after, of=100, **more):
    return planted_variant(right(before, of), right(after, of), **more)


@pytest.mark.parametrize(
    ("before", "after", "limit", "outcome"),
    [
        (90, 83, 0.07, PASS),  # exactly 7 of 100; in floats 0.9 - 0.83 > 0.07
        (90, 83, 0.06999, FAIL),
        (90, 82, 0.07, FAIL),
        (90, 61, 0.29, PASS),
        (90, 62, 0.28, PASS),
        (90, 33, 0.57, PASS),
        (90, 90, 0, PASS),
        (90, 89, 0, FAIL),
        (90, 95, 0, PASS),
        (100, 1, 0.99, PASS),
    ],
)
def test_the_limit_is_exact(before, after, limit, outcome):
    verdict = judge_drop(drop_of(before, after), limit)
    assert verdict.outcome is outcome
    assert verdict.observed == (before - after) / 100


@pytest.mark.parametrize("samples", [3, 7, 30, 90])
def test_a_third_is_no_decimal_number(samples):
    variant = drop_of(samples, samples - samples // 3, of=samples)
    assert judge_drop(variant, 0.34).outcome is PASS
    assert judge_drop(variant, 0.3333333333 if samples % 3 == 0 else 0.28).outcome is FAIL


def test_better_and_worse_samples_weigh_each_other_up_but_both_are_flips():
    fp32, own = [1] * 50 + [0] * 50, [0] * 10 + [1] * 40 + [1] * 8 + [0] * 42
    variant = planted_variant(fp32, own)
    verdict = judge_drop(variant, 0.02)
    assert (verdict.outcome, verdict.evidence["flips"]) == (PASS, 18)
    assert judge_flips(variant, 0.18).outcome is PASS
    assert judge_flips(variant, 0.17).outcome is FAIL


@pytest.mark.parametrize(
    ("before", "after", "limit", "outcome"),
    [
        (50, 45, 0.1, PASS),  # exactly a tenth of FP32's
        (50, 44, 0.1, FAIL),
        (90, 83, 0.07, FAIL),  # 93 % of 90 are 83.7
        (90, 84, 0.07, PASS),
        (70, 70, 0, PASS),
    ],
)
def test_a_relative_limit_is_a_share_of_fp32s_value(before, after, limit, outcome):
    verdict = judge_drop(drop_of(before, after), limit, relative=True)
    assert verdict.outcome is outcome
    assert verdict.observed == pytest.approx((before - after) / before)
    assert verdict.sentence.endswith(f"allowed {100 * limit:g} % of FP32's")


@pytest.mark.parametrize("baseline", [0.0, -2.0])
def test_a_share_of_a_baseline_that_is_not_positive_is_an_error(baseline):
    metric = Metric(score_of, "reward", unit="raw")
    variant = planted_variant([baseline] * 4, [baseline - 1] * 4, metric=metric)
    with pytest.raises(ValueError, match="a baseline that is not positive says nothing"):
        judge_drop(variant, 0.5, relative=True)
    assert judge_drop(variant, 1).outcome is PASS


@pytest.mark.parametrize(
    "scores",
    [
        np.random.default_rng(0).random(3000),
        np.random.default_rng(1).standard_normal(3000) * 1e6,
        [0.0, -0.0],
        [0.1] * 7,
        [1e-320, 5e-324, 1e300, -1e300, 0.1],
        [2.0**62 + 2.0**10] * 3000 + [-1.5],
        [-(2.0**-30)] * 3000,
    ],
)
def test_a_mean_of_floats_is_exact(scores):
    expected = sum(map(Fraction, map(float, scores)), Fraction(0)) / len(scores)
    assert exact_mean(np.array([*scores, np.nan])) == expected  # NaN is no score


def test_a_loss_has_no_flips_but_a_worst_sample():
    """By hand: the samples rise by 0.25, -0.5, 2 and 0."""
    fp32, own = [1.0, 2.0, 3.0, 4.0], [1.25, 1.5, 5.0, 4.0]
    variant = planted_variant(fp32, own, metric=loss())
    verdict = judge_drop(variant, 1)
    assert "flips" not in verdict.evidence
    assert verdict.evidence["worst"] == 2.0
    assert "pt" not in verdict.sentence
    assert "%" not in verdict.sentence
    with pytest.raises(QuantStageError, match=r"flips of loss say nothing.*assert_min_sqnr"):
        assert_max_flips(variant, 0.5)
    better = planted_variant(own, own, metric=loss())
    assert judge_drop(better, 1).evidence["worst"] == 0.0
    nats = planted_variant([1.0, 1.0], [1.0, 1.0 + math.log(1.5)], metric=loss("ppl", "perplexity"))
    assert judge_drop(nats, 1).evidence["worst"] == pytest.approx(0.5)


def test_too_few_samples_of_an_error_rate_are_told_in_its_own_unit():
    variant = planted_variant([0.0] * 9 + [1.0], [0.0] * 9 + [1.0], metric=loss("wer"))
    verdict = judge_drop(variant, 0.02, scope="population")
    assert "10 samples cannot show a drop of 0.02," in verdict.sentence
    assert "pt" not in verdict.sentence


def test_a_variant_outside_the_range_that_fp32_kept_fails():
    variant = planted_variant([0.9, 0.8], [0.9, -3.5], metric=reward())  # the mean may drop by all
    verdict = judge_drop(variant, 0.99, relative=True)
    assert verdict.outcome is FAIL
    assert verdict.sentence.endswith("static has -3.5 of reward, which on FP32 lies in [0, 1].")


def test_samples_of_which_nothing_counts_have_no_score():
    """By hand: 4 of 8 samples count; FP32 is right on 3 of them, the variant on 2."""
    fp32 = [1, 1, 1, 0, 1, 0, 1, 0]
    own = [1, 1, 0, 0, 0, 0, 0, 0]
    targets = torch.tensor([0, 0, 0, 0, -100, -100, -100, -100])
    metric = Metric.top_k(1)
    variant = planted_variant(fp32, own, metric=metric, targets=targets)
    verdict = judge_drop(variant, 0.25)
    assert (verdict.outcome, verdict.observed, verdict.evidence["flips"]) == (PASS, 0.25, 1)
    assert judge_drop(variant, 0.24).outcome is FAIL
    assert variant.fp32.evaluation.values == {"top-1": 0.75}
    assert variant.fp32.evaluation.majority_rate == 1.0
    assert by_class(variant.evaluation, variant.fp32.evaluation, metric) == [(0, 4, 0.5, 0.25)]
    assert "4 of 8 samples have no target that counts for top-1, so they have no score" in (
        variant.fp32.notes
    )
    flips = judge_flips(variant, 0.25)
    assert (flips.outcome, flips.observed) == (PASS, 0.25)


@pytest.mark.parametrize("scope", ["dataset", "population"])
@pytest.mark.parametrize("alpha", [0, -0.01, 0.0501, 0.5, 1, math.nan])
def test_an_alpha_that_proves_nothing_is_refused_at_once(alpha, scope):
    with pytest.raises(ValueError, match=r"alpha is .*above 0 and at most 0\.05"):
        assert_max_accuracy_drop(toy_variant(), 0.5, scope=scope, alpha=alpha)
    with pytest.raises(TypeError, match=r"alpha is '0.01'"):
        assert_max_accuracy_drop(toy_variant(), 0.5, scope=scope, alpha="0.01")


def copies_of(fp32, own, times, **more):
    """The same samples again and again."""
    variant = planted_variant(fp32, own, **more)
    data = variant.subject.eval_data
    return toy_variant(
        variant.recipe,
        model=variant.subject.model,
        eval_data=data * times,
        metric=variant.subject.metric,
    )


def test_copies_of_an_input_prove_nothing_more():
    """400 different samples without a loss prove two points; ten samples forty times do not."""
    different = judge_drop(drop_of(400, 400, 400), 0.02, scope="population")
    same = judge_drop(copies_of([1] * 10, [1] * 10, 40), 0.02, scope="population")
    ten = judge_drop(drop_of(10, 10, 10), 0.02, scope="population")
    assert (different.outcome, same.outcome) == (PASS, Outcome.INCONCLUSIVE)
    assert "alpha 0.01, 10 distinct inputs)" in same.sentence
    assert "400 samples" in same.sentence
    assert "distinct" not in different.sentence
    assert same.evidence["bounds"] == ten.evidence["bounds"]


def test_some_copies_count_once_each():
    """By hand: of 500 inputs ten are there twice, with the same scores; 505 prove what 500 prove."""
    fp32, own = right(500, 500), right(497, 500)
    variant = planted_variant(fp32, own)
    doubled = toy_variant(
        variant.recipe,
        model=variant.subject.model,
        eval_data=[
            *variant.subject.eval_data,
            *((x[:5], y[:5]) for x, y in variant.subject.eval_data[:2]),
        ],
    )
    one, two = (judge_drop(each, 0.05, scope="population") for each in (variant, doubled))
    assert len(doubled.evaluation) == 510
    assert two.evidence["bounds"] == pytest.approx(one.evidence["bounds"])
    assert "500 distinct inputs" in two.sentence


def test_one_input_with_two_targets_is_one_input():
    inputs = torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(300) % 3
    data = [(inputs, labels), (inputs, (labels + 1) % 3)]
    verdict = judge_drop(toy_variant("dynamic", eval_data=data), 0.5, scope="population")
    assert "300 distinct inputs" in verdict.sentence


def test_a_set_of_which_nothing_counts_is_an_error():
    targets = torch.full((4,), -100)
    variant = planted_variant([1] * 4, [0] * 4, metric=Metric.top_k(1), targets=targets)
    with pytest.raises(
        QuantStageError, match="no sample of quant_eval_data has a target that counts"
    ):
        judge_drop(variant, 0.5)


@pytest.mark.parametrize("limit", [1, 1.0, 2, 99.5])
def test_a_drop_of_a_fraction_by_one_or_more_is_an_error_since_points_were_meant(limit):
    variant = drop_of(90, 89)
    for relative in (False, True):
        with pytest.raises(ValueError, match=r"a metric in fractions: 0.01 is one point"):
            assert_max_accuracy_drop(variant, limit, relative=relative)


def test_a_raw_metric_may_drop_by_more_than_one():
    metric = Metric(score_of, "psnr", unit="raw")
    variant = planted_variant([30.0, 32.0], [28.0, 31.0], metric=metric)
    assert judge_drop(variant, 1.5).outcome is PASS
    assert judge_drop(variant, 1.4).outcome is FAIL


@pytest.mark.parametrize(
    ("fp32", "own", "limit", "outcome"),
    [
        ([0.5, 0.25], [0.75, 0.5], 0.25, PASS),  # both rise by exactly 0.25
        ([0.5, 0.25], [0.75, 0.5], 0.24, FAIL),
        ([0.5, 0.25], [0.25, 0.125], 0, PASS),  # a loss that falls is no breach
        ([0.5, 0.25], [0.25, 0.5], 0, PASS),
    ],
)
def test_a_loss_may_rise_by_its_limit_and_fall_at_will(fp32, own, limit, outcome):
    assert judge_drop(planted_variant(fp32, own, metric=loss()), limit).outcome is outcome


def test_an_error_rate_is_gated_upwards_in_points():
    variant = planted_variant(
        right(10, of=100), right(17, of=100), metric=loss("error", "fraction")
    )
    verdict = judge_drop(variant, 0.07)
    assert (verdict.outcome, verdict.observed) == (PASS, 0.07)
    assert judge_drop(variant, 0.06).sentence == (
        "error FAIL: static rises 7.00 pt (10.00 % -> 17.00 %, 100 samples), allowed 6.00 pt"
    )


def test_a_relative_limit_of_a_loss_is_a_share_of_its_rise():
    variant = planted_variant([2.0, 2.0], [2.5, 2.0], metric=loss())
    assert judge_drop(variant, 0.125, relative=True).outcome is PASS
    assert judge_drop(variant, 0.12, relative=True).outcome is FAIL


@pytest.mark.parametrize("limit", [1, 5, 12.5])
def test_a_relative_limit_of_all_or_more_is_an_error_since_per_cent_were_meant(limit):
    variant = planted_variant([2.0, 2.0], [2.5, 2.0], metric=loss())
    with pytest.raises(ValueError, match=r"a share of FP32's value: 0\.05 is 5 %"):
        assert_max_accuracy_drop(variant, limit, relative=True)
    assert judge_drop(variant, limit).outcome is PASS


def test_a_breach_is_one_sentence():
    with pytest.raises(AssertionError) as caught:
        assert_max_accuracy_drop(drop_of(85, 81, of=90), 0.01)
    assert str(caught.value) == (
        "accuracy FAIL: static drops 4.44 pt (94.44 % -> 90.00 %, 90 samples), allowed 1.00 pt"
    )


def test_a_rise_is_called_a_rise():
    assert judge_drop(drop_of(50, 60), 0.01).sentence == (
        "accuracy PASS: static rises 10.00 pt (50.00 % -> 60.00 %, 100 samples), allowed 1.00 pt"
    )


def test_fp32_itself_drops_by_nothing():
    assert assert_max_accuracy_drop(drop_of(90, 80).fp32, 0).observed == 0


def test_min_baseline_is_what_fp32_itself_must_reach():
    variant = drop_of(90, 90)
    assert judge_drop(variant, 0.01, min_baseline=0.9).outcome is PASS
    verdict = judge_drop(variant, 0.01, min_baseline=0.91)
    assert verdict.outcome is FAIL
    assert verdict.sentence == (
        "accuracy FAIL: FP32 itself is at 90.00 %, below min_baseline 91.00 %, so a drop from it "
        "means nothing."
    )


def test_min_baseline_of_a_loss_is_a_ceiling():
    variant = planted_variant([0.5, 0.5], [0.5, 0.25], metric=loss())
    assert judge_drop(variant, 0, min_baseline=0.5).outcome is PASS
    verdict = judge_drop(variant, 0, min_baseline=0.4)
    assert verdict.outcome is FAIL
    assert "loss FAIL: FP32 itself is at 0.5, above min_baseline 0.4" in verdict.sentence


def test_several_metrics_are_gated_by_name_and_the_first_by_default():
    metrics = {"score": Metric(score_of, "s", unit="raw"), "cost": loss()}
    variant = planted_variant([1.0, 1.0], [2.0, 2.0], metric=metrics)
    assert assert_max_accuracy_drop(variant, 0).metric == "score"
    with pytest.raises(AssertionError, match=r"^cost FAIL: static rises 1 "):
        assert_max_accuracy_drop(variant, 0, metric="cost")
    with pytest.raises(ValueError, match="metric='f1' is not among quant_metric's: score, cost"):
        assert_max_accuracy_drop(variant, 0, metric="f1")


def test_a_mean_of_batches_is_judged_as_one_number():
    metric = Metric(lambda outputs, targets: outputs[:, 0].mean(), "mean", unit="raw")
    variant = planted_variant([4.0, 4.0, 2.0], [4.0, 3.0, 2.5], metric=metric, size=2)
    verdict = judge_drop(variant, 0.5)
    assert verdict.observed == pytest.approx(0.5 / 3)
    assert "flips" not in verdict.evidence


def test_flips_are_counted_exactly():
    variant = drop_of(90, 83)
    verdict = assert_max_flips(variant, 0.07)
    assert (verdict.observed, verdict.evidence) == (0.07, {"samples": 100, "flips": 7})
    with pytest.raises(AssertionError) as caught:
        assert_max_flips(variant, 0.06)
    assert str(caught.value) == (
        "flips FAIL: static scores 7 of 100 samples differently from FP32 (7.00 %), allowed 6 %"
    )


def test_flips_need_a_score_for_each_sample():
    metric = Metric(lambda outputs, targets: outputs[:, 0].mean(), "mean")
    variant = planted_variant([1, 0], [0, 0], metric=metric)
    with pytest.raises(QuantStageError, match="metric mean gives one number for a batch"):
        assert_max_flips(variant, 0.5)


def broken(value, *, metric=None):
    """A custom variant that names FP32's class for each sample, with one output that is not finite."""

    def build(module):
        def run(x):
            outputs = module(x) * 2
            best = outputs[0].argmax()
            outputs[0] = -1.0
            outputs[0, best] = value
            return outputs

        return run

    return toy_variant(Recipe("custom", build=build), name="mine", metric=metric)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("judge", [judge_drop, judge_flips])
def test_outputs_that_are_not_finite_fail_though_each_class_is_right(value, judge):
    verdict = judge(broken(value), 0.99)
    assert verdict.outcome is FAIL
    # 2 batches, the first sample of each
    assert "mine gives NaN or infinite outputs on 2 of 32 samples" in verdict.sentence


def test_a_loss_that_cannot_be_computed_from_such_outputs_is_a_failure_of_the_variant():
    def cross_entropy(outputs, targets):
        return torch.nn.functional.cross_entropy(outputs, targets, reduction="none")

    metric = Metric(cross_entropy, "loss", higher_is_better=False, unit="raw")
    verdict = judge_drop(broken(float("nan"), metric=metric), 100)
    assert verdict.outcome is FAIL
    assert verdict.sentence.startswith("loss FAIL: mine gives NaN or infinite outputs on 2 of 32")


class HalfAndBroken(torch.nn.Module):
    """FP32's module with weights in half the bits, whose first output of a batch is NaN."""

    def __init__(self, module):
        super().__init__()
        self.module = module.bfloat16()

    def forward(self, x):
        outputs = self.module(x.bfloat16()).float()
        outputs[0] = float("nan")
        return outputs


def test_broken_outputs_end_an_early_stop_at_once_and_say_how_many_samples_were_seen():
    inputs = torch.randn(2500, 8, generator=torch.Generator().manual_seed(3))
    data = TensorDataset(inputs, inputs[:, :3].argmax(1))
    variant = toy_variant(Recipe("custom", build=HalfAndBroken), name="mine", eval_data=data)
    verdict = judge_drop(variant, 0.5, early_stop=True)
    assert verdict.sentence == (
        "accuracy FAIL: mine gives NaN or infinite outputs on 1 of 32 samples where FP32 does not."
    )
    assert variant.measured("evaluation") is None


LN_2, LN_3 = math.log(2), math.log(3)


def test_perplexity_may_rise_by_its_limits_share():
    nll = Metric(score_of, "perplexity", higher_is_better=False, unit="perplexity")
    variant = planted_variant([LN_2, LN_2], [LN_3, LN_3], metric=nll)
    verdict = judge_drop(variant, 0.51)
    assert verdict.outcome is PASS
    assert verdict.observed == pytest.approx(0.5)
    assert judge_drop(variant, 0.49).sentence == (
        "perplexity FAIL: static rises 50.00 % (2 -> 3, 2 samples), allowed 49 % of FP32's"
    )


def test_a_perplexity_that_falls_is_no_breach():
    nll = Metric(score_of, "perplexity", higher_is_better=False, unit="perplexity")
    verdict = judge_drop(planted_variant([LN_3, LN_3], [LN_2, LN_2], metric=nll), 0)
    assert verdict.outcome is PASS
    assert verdict.observed == pytest.approx(2 / 3 - 1)
    assert verdict.sentence.startswith("perplexity PASS: static falls 33.33 % (3 -> 2, 2 samples)")


def test_min_baseline_of_a_perplexity_is_a_perplexity():
    nll = Metric(score_of, "perplexity", higher_is_better=False, unit="perplexity")
    variant = planted_variant([LN_2, LN_2], [LN_3, LN_2], metric=nll)
    assert judge_drop(variant, 0.5, min_baseline=2.1).outcome is PASS
    assert judge_drop(variant, 0.5, min_baseline=0).outcome is FAIL
    verdict = judge_drop(variant, 0.5, min_baseline=1.9)
    assert verdict.outcome is FAIL
    assert "FP32 itself is at 2, above min_baseline 1.9" in verdict.sentence
