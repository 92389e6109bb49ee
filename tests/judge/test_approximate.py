"""The approximate t bounds against scipy, and how far they may be trusted."""

import math

import numpy as np
import pytest
from scipy import stats

from pytest_quant.judge.approximate import (
    MINIMUM_ALPHA,
    MINIMUM_SAMPLES,
    approximate_drop,
    student_quantile,
)


@pytest.mark.parametrize("probability", [0.001, 0.01, 0.05, 0.3, 0.5, 0.9, 0.99, 0.999])
@pytest.mark.parametrize(("degrees", "error"), [(30, 1e-4), (100, 1e-6), (999, 1e-9)])
def test_quantile_agrees_with_scipy(probability, degrees, error):
    expected = stats.t.ppf(probability, degrees)
    assert student_quantile(probability, degrees) == pytest.approx(expected, abs=error)


def test_quantile_is_not_the_normal_one():
    assert student_quantile(0.99, 999) - stats.norm.ppf(0.99) > 1e-3


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.3])
def test_bounds_are_those_of_a_paired_t_test(alpha):
    rng = np.random.default_rng(1)
    fp32, variant = rng.gamma(2.0, size=(2, 1500))
    interval = stats.ttest_rel(variant, fp32).confidence_interval(1 - 2 * alpha)
    drop = approximate_drop(variant - fp32, alpha)
    assert (drop.lower, drop.upper) == pytest.approx((interval.low, interval.high), abs=1e-9)
    assert (drop.n, drop.alpha) == (1500, alpha)
    assert drop.mean == pytest.approx((variant - fp32).mean())


def test_verdicts_follow_the_bounds():
    drop = approximate_drop([0.0, 2.0] * 1000, 0.01)  # mean 1, standard error 1 / sqrt(2000)
    assert (drop.is_at_most(drop.upper), drop.is_at_most(drop.upper - 1e-9)) == (True, False)
    assert (drop.is_above(drop.lower), drop.is_above(drop.lower - 1e-9)) == (False, True)
    assert drop.is_at_most(1.2)
    assert drop.is_above(0.8)
    assert not drop.is_at_most(1)
    assert not drop.is_above(1)


def test_the_label_says_approximate():
    drop = approximate_drop([0.0, 1.0] * 500, 0.01)
    assert drop.label == "approximate (98% paired t interval of 1000 samples)"


def misses(losing, n, alpha, runs, seed):
    """How often the upper bound lies below the true mean, if a few samples lose 1 and no more."""
    lost = np.random.default_rng(seed).binomial(n, losing, size=runs)
    passes = [
        approximate_drop([1.0] * count + [0.0] * (n - count), alpha).is_at_most(losing)
        for count in lost
    ]
    return sum(passes) / runs


def test_at_the_fewest_samples_and_least_alpha_it_errs_a_few_times_too_often():
    share = misses(0.01, MINIMUM_SAMPLES, MINIMUM_ALPHA, runs=600, seed=3)
    assert MINIMUM_ALPHA < share < 5 * MINIMUM_ALPHA


def test_with_many_losses_it_keeps_its_word():
    assert 0 < misses(0.3, MINIMUM_SAMPLES, 0.05, runs=600, seed=4) < 0.075


@pytest.mark.slow
def test_more_samples_make_it_honest():
    few = misses(0.01, 1000, 0.01, runs=4000, seed=5)
    many = misses(0.01, 20_000, 0.01, runs=1500, seed=6)
    assert few > 0.02
    assert many < 0.02


def test_too_few_samples_are_refused():
    with pytest.raises(ValueError, match=r"999 samples; .* at least 1000"):
        approximate_drop([0.0] * 999, 0.01)


@pytest.mark.parametrize("alpha", [0.001, 0.0099, 0.5, math.nan])
def test_an_alpha_too_small_for_it_is_refused(alpha):
    with pytest.raises(ValueError, match="too rough"):
        approximate_drop([0.0] * 1000, alpha)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_difference_that_is_not_finite_is_refused(bad):
    with pytest.raises(ValueError, match="not finite"):
        approximate_drop([0.0] * 1000 + [bad], 0.01)
