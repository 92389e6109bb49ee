"""Tango's statistic against a numeric maximum likelihood and print; error rates by enumeration."""

import itertools
import math
from statistics import NormalDist

import pytest
from scipy import optimize, stats

from pytest_quant.judge.score_bound import (
    drop_bounds,
    proves_above,
    proves_at_most,
    samples_needed,
    tango_statistic,
)


def statistic_by_numeric_likelihood(b, c, n, drop):
    """T(D) with the chance of the c cell found by a search instead of the closed form."""

    def unlikelihood(q):
        terms = ((b, q + drop), (c, q), (n - b - c, 1 - 2 * q - drop))
        return -sum(count * math.log(max(p, 1e-300)) for count, p in terms if count)

    low, high = max(0.0, -drop), (1 - drop) / 2
    q = optimize.minimize_scalar(
        unlikelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-12}
    ).x
    return (b - c - n * drop) / math.sqrt(n * (2 * q + drop * (1 - drop)))


@pytest.mark.parametrize("drop", [-0.4, -0.05, -0.003, 0.003, 0.05, 0.4])
@pytest.mark.parametrize(
    ("b", "c", "n"),
    [(3, 1, 20), (1, 7, 21), (6, 16, 161), (25, 28, 618), (40, 20, 160), (300, 5, 10_000)],
)
def test_statistic_agrees_with_a_numeric_maximum_likelihood(b, c, n, drop):
    expected = statistic_by_numeric_likelihood(b, c, n, drop)
    assert tango_statistic(b, c, n, drop) == pytest.approx(expected, rel=2e-5, abs=2e-5)


def test_at_no_drop_it_is_mcnemars():
    assert tango_statistic(40, 20, 160, 0) == pytest.approx(20 / math.sqrt(60))


def test_the_example_of_tangos_paper():
    """Section 6.1, cross-over trial of soft contact lenses: b = 0, c = 1, n = 44, margin 0.1.

    Printed: Z = 1.709, one-sided p = 0.044, lower limit of the 90 % interval -0.096.
    """
    assert tango_statistic(0, 1, 44, -0.1) == pytest.approx(1.709, abs=5e-4)
    assert proves_above(0, 1, 44, -0.1, 0.05)
    assert not proves_above(0, 1, 44, -0.1, 0.043)
    assert drop_bounds(0, 1, 44, 0.05)[0] == pytest.approx(-0.096, abs=5e-4)


@pytest.mark.parametrize(
    ("b", "c", "n", "lower", "upper", "decimals"),
    [
        # Fagerland, Lydersen and Laake, Stat. Med. 33 (2014) 2850-2875, table V.
        (1, 7, 21, -0.517, -0.026, 3),
        # The same authors' R package contingencytables, data of Cavo et al. (2012).
        (6, 16, 161, -0.1240, -0.0054, 4),
    ],
)
def test_published_95_percent_limits_are_where_the_statistic_is_1_96(
    b, c, n, lower, upper, decimals
):
    critical = NormalDist().inv_cdf(0.975)
    roots = [
        optimize.brentq(lambda drop, z=z: tango_statistic(b, c, n, drop) - z, -0.99, 0.99)
        for z in (critical, -critical)
    ]
    assert roots == pytest.approx([lower, upper], abs=0.5 * 10**-decimals)


def test_nothing_breaks_at_the_edges():
    """No NaN, no exception, falling in D, for every table of up to 4 samples."""
    drops = (-1, -1 + 1e-12, -0.5, -1e-12, 0, 1e-12, 0.5, 1 - 1e-12, 1)
    for n in range(1, 5):
        for b, c in itertools.product(range(n + 1), repeat=2):
            if b + c <= n:
                found = [tango_statistic(b, c, n, drop) for drop in drops]
                assert found == sorted(found, reverse=True)  # a NaN would break the order
                mirrored = [-tango_statistic(c, b, n, -drop) for drop in drops]
                assert mirrored == found
                lower, upper = drop_bounds(b, c, n, 0.01)
                assert -1 <= lower <= (b - c) / n <= upper <= 1


def test_the_ends_are_reached_only_by_all_samples():
    assert drop_bounds(10, 0, 10, 0.01)[1] == 1
    assert drop_bounds(0, 10, 10, 0.01)[0] == -1
    assert drop_bounds(9, 0, 10, 0.01)[1] < 1
    assert tango_statistic(10, 0, 10, 1) == 0
    assert tango_statistic(9, 0, 10, 1) == -math.inf


@pytest.mark.parametrize(
    ("b", "c", "n"), [(0, 0, 50), (1, 7, 21), (20, 3, 400), (5, 5, 1000), (90, 10, 10_000)]
)
@pytest.mark.parametrize("alpha", [0.05, 0.001])
def test_bounds_and_verdicts_agree(b, c, n, alpha):
    lower, upper = drop_bounds(b, c, n, alpha)
    tiny = 1e-9
    assert proves_at_most(b, c, n, upper + tiny, alpha)
    assert not proves_at_most(b, c, n, upper - tiny, alpha)
    assert proves_above(b, c, n, lower - tiny, alpha)
    assert not proves_above(b, c, n, lower + tiny, alpha)
    assert [-upper, -lower] == pytest.approx(drop_bounds(c, b, n, alpha), abs=1e-12)


def test_agreement_on_few_samples_proves_nothing():
    """With b = c = 0, T(m) = -sqrt(n m / (1 - m)): at 1 pt and 5 % it takes 268 samples."""
    assert not proves_at_most(0, 0, 20, 0.01, 0.05)
    assert not proves_at_most(0, 0, 267, 0.01, 0.05)
    assert proves_at_most(0, 0, 268, 0.01, 0.05)


def odds(n, psi, drop, margin, alpha):
    """Exact probabilities of a PASS and of a FAIL, by the distribution of b and c."""
    lost, gained = (psi + drop) / 2, (psi - drop) / 2
    passed = failed = 0.0
    for c in range(int(stats.binom.isf(1e-12, n, gained)) + 1):
        weight = stats.binom.pmf(c, n, gained)
        share = lost / (1 - gained)
        passes = first(n - c, lambda b, c=c: not proves_at_most(b, c, n, margin, alpha))
        fails = first(n - c, lambda b, c=c: proves_above(b, c, n, margin, alpha))
        passed += weight * stats.binom.cdf(passes - 1, n - c, share)
        failed += weight * stats.binom.sf(fails - 1, n - c, share)
    return passed, failed


def first(last, holds):
    """The first of 0..last from which on ``holds`` is true; last + 1 if from none."""
    low, high = 0, last + 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


@pytest.mark.parametrize(
    ("alpha", "n", "psi", "percent"),
    [
        (0.05, 300, 0.01, 4.90),
        (0.05, 300, 0.03, 4.26),
        (0.05, 3000, 0.01, 5.36),
        (0.001, 1000, 0.01, 0.0043),
        (0.001, 3000, 0.03, 0.0786),
    ],
)
def test_a_false_pass_at_the_margin_of_one_point_is_as_rare_as_promised(alpha, n, psi, percent):
    passed, failed = odds(n, psi, drop=0.01, margin=0.01, alpha=alpha)
    assert 100 * passed == pytest.approx(percent, rel=0.01)
    assert failed <= alpha


def test_a_false_fail_would_be_too_frequent_without_the_corrections():
    n, alpha = 1500, 0.01
    critical = -NormalDist().inv_cdf(alpha)
    lost = first(n, lambda b: tango_statistic(b, 0, n, 0.005) >= critical)
    assert stats.binom.sf(lost - 1, n, 0.005) > 1.5 * alpha
    assert alpha / 3 < odds(n, 0.005, 0.005, 0.005, alpha)[1] <= alpha


@pytest.mark.slow
@pytest.mark.parametrize(("alpha", "most"), [(0.05, 1.35), (0.01, 1.03), (0.001, 1.0)])
@pytest.mark.parametrize("margin", [0, 0.005, 0.01, 0.02, 0.05])
def test_error_at_the_margin_over_a_grid(margin, alpha, most):
    worst_pass = worst_fail = 0.0
    for n in (30, 100, 250, 500, 900, 1500, 3000, 7000):
        for psi in (1.0001 * margin, 1.2 * margin, 2 * margin, 0.01, 0.03, 0.1):
            if psi > margin:
                passed, failed = odds(n, psi, margin, margin, alpha)
                worst_pass, worst_fail = max(worst_pass, passed), max(worst_fail, failed)
    assert worst_pass <= most * alpha
    assert worst_fail <= alpha


@pytest.mark.parametrize(
    ("psi", "margin", "drop", "alpha"),
    [
        (0.01, 0.01, 0, 0.05),
        (0.05, 0.02, 0, 0.05),
        (0.03, 0.01, 0.002, 0.01),
    ],
)
def test_the_samples_needed_give_about_the_power_promised(psi, margin, drop, alpha):
    n = samples_needed(psi, margin, drop, alpha)
    assert 0.88 < odds(n, psi, drop, margin, alpha)[0] < 0.96
    assert odds(n // 2, psi, drop, margin, alpha)[0] < 0.75


def test_samples_needed_where_models_agree_on_all():
    assert samples_needed(0, 0.01, 0, 0.05) == 268


def test_more_power_or_a_smaller_gap_takes_more_samples():
    usual = samples_needed(0.03, 0.01, 0, 0.01)
    assert samples_needed(0.03, 0.01, 0, 0.01, power=0.99) > usual
    assert samples_needed(0.03, 0.01, 0.005, 0.01) > 2 * usual


def test_samples_needed_to_prove_a_gain():
    """To refute "the gain is at most 0.5 pt": the variance at a gain of 0.5 pt counts."""
    n = samples_needed(0.03, -0.005, -0.02, 0.01)
    assert 0.8 < odds(n, 0.03, -0.02, -0.005, 0.01)[0] < 0.96


def test_samples_needed_against_a_formula_by_hand():
    """psi = 0.5, d = 0.2, m = 0.4: B = 0.22, C = -0.036, so q = 0.09 and v0 = 0.18 + 0.24."""
    v0, v1 = 0.42, 0.5 - 0.2**2
    reach = 1.6448536 * math.sqrt(v0) + 1.2815516 * math.sqrt(v1)
    assert samples_needed(0.5, 0.4, 0.2, 0.05) == math.ceil((reach / 0.2) ** 2)


@pytest.mark.parametrize("drop", [0.01, 0.02])
def test_no_number_of_samples_proves_what_is_not_so(drop):
    assert samples_needed(0.03, 0.01, drop, 0.01) is None


@pytest.mark.parametrize(
    ("b", "c", "n"), [(-1, 0, 10), (0, -1, 10), (6, 5, 10), (0, 0, 0), (0, 0, -3)]
)
def test_impossible_counts_are_refused(b, c, n):
    with pytest.raises(ValueError, match="n >= 1 samples"):
        tango_statistic(b, c, n, 0.01)
    with pytest.raises(ValueError, match="n >= 1 samples"):
        drop_bounds(b, c, n, 0.01)


@pytest.mark.parametrize("drop", [1.5, -2, math.nan])
def test_a_drop_in_points_is_refused(drop):
    with pytest.raises(ValueError, match="one point"):
        proves_at_most(1, 0, 10, drop, 0.01)


@pytest.mark.parametrize("alpha", [0, 0.5, 1, math.nan])
def test_alpha_must_be_one_sided(alpha):
    with pytest.raises(ValueError, match="below 1/2"):
        proves_above(1, 0, 10, 0.01, alpha)


@pytest.mark.parametrize(
    "changed",
    [{"psi": 1.1}, {"psi": math.nan}, {"drop": 2}, {"margin": 1.0}, {"power": 1}, {"power": 0.1}],
)
def test_rates_out_of_range_are_refused(changed):
    with pytest.raises(ValueError, match="psi must be"):
        samples_needed(**{"psi": 0.03, "margin": 0.01, "drop": 0.0, "alpha": 0.01} | changed)
