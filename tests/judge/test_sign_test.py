"""The sign test's capital, ranks and intervals against integrals, hand counts and exact odds."""

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import integrate, special

from pytest_quant.judge.sign_test import (
    capital,
    fewest_rounds,
    is_proven,
    median_interval,
    rank,
)

# n -> r, for 1e-3 and for 0.025 on each side.
RANKS = {
    13: (1, 2),
    20: (2, 4),
    30: (5, 7),
    50: (12, 15),
    75: (21, 24),
    100: (30, 35),
    150: (50, 56),
    200: (71, 77),
    300: (114, 121),
}


@pytest.mark.parametrize(
    ("n", "k", "expected"),
    [
        (0, 0, Fraction(1)),
        (1, 0, Fraction(1, 2)),
        (1, 1, Fraction(3, 2)),
        (2, 1, Fraction(1 + 3, 3 * 2)),
        (2, 2, Fraction(7, 3)),
        (3, 2, Fraction(1 + 4 + 6, 4 * 3)),
        (4, 4, Fraction(31, 5)),
        (13, 13, Fraction(2**14 - 1, 14)),
    ],
)
def test_capital_counted_by_hand(n, k, expected):
    assert capital(n, k) == expected


@pytest.mark.parametrize(("n", "k"), [(1, 0), (2, 1), (5, 4), (9, 9), (20, 3), (40, 30)])
def test_capital_is_the_integral_over_all_bets(n, k):
    def bet(p):
        return 2 * (2 * p) ** k * (2 - 2 * p) ** (n - k)

    assert float(capital(n, k)) == pytest.approx(integrate.quad(bet, 0.5, 1)[0], rel=1e-9)


@pytest.mark.parametrize(("n", "k"), [(100, 50), (100, 71), (300, 187), (300, 290)])
def test_capital_is_an_incomplete_beta_function(n, k):
    upper_half = special.betaincc(k + 1, n - k + 1, 0.5)
    logarithm = (n + 1) * math.log(2) + special.betaln(k + 1, n - k + 1) + math.log(upper_half)
    assert math.log(capital(n, k)) == pytest.approx(logarithm, rel=1e-9)


def test_the_game_is_exactly_fair_for_a_fair_coin():
    for n in range(25):
        for k in range(n + 1):
            assert (capital(n + 1, k) + capital(n + 1, k + 1)) / 2 == capital(n, k)


@pytest.mark.parametrize(("alpha", "rounds"), [(1e-2, 9), (1e-3, 13), (1e-4, 17)])
def test_fewest_rounds(alpha, rounds):
    assert fewest_rounds(alpha) == rounds
    assert is_proven(rounds, rounds, alpha)
    assert not is_proven(rounds - 1, rounds - 1, alpha)
    assert not is_proven(rounds, rounds - 1, alpha)


def test_equality_counts_as_proven_and_alpha_is_the_decimal_number_written():
    assert capital(6, 5) == Fraction(20, 7) == 1 / Fraction("0.35")
    assert Fraction(0.35) < Fraction("0.35")  # read as a binary float, it would not be reached
    assert is_proven(6, 5, 0.35)
    assert not is_proven(6, 5, 0.3499999)


@pytest.mark.parametrize("n", RANKS)
def test_ranks(n):
    assert (rank(n, 1e-3), rank(n, 0.025)) == RANKS[n]


@pytest.mark.parametrize("alpha", [0.2, 0.025, 1e-3])
def test_rank_is_one_more_than_the_tails_that_may_be_missing(alpha):
    for n in range(80):
        proven = [k for k in range(n + 1) if is_proven(n, k, alpha)]
        assert proven == list(range(n + 1 - len(proven), n + 1))
        assert rank(n, alpha) == (len(proven) or None)


@pytest.mark.parametrize("alpha", [0.05, 0.01, 1e-3])
def test_a_fair_coin_is_ever_accused_with_less_than_alpha(alpha):
    """Exact: follow the distribution of heads over 300 rounds, stopping at the first proof."""
    alive, accused = np.array([1.0]), 0.0
    for n in range(1, 301):
        alive = (np.append(alive, 0) + np.append(0, alive)) / 2
        tails_missing = rank(n, alpha)
        if tails_missing is not None:
            accused += alive[n + 1 - tails_missing :].sum()
            alive[n + 1 - tails_missing :] = 0
    assert alpha / 4 < accused <= alpha


def test_a_biased_coin_is_found_out():
    heads = np.cumsum(np.random.default_rng(1).random((200, 300)) < 0.75, axis=1)
    found = [any(is_proven(n, int(run[n - 1]), 1e-3) for n in (13, 50, 150)) for run in heads]
    assert sum(found) > 190


def test_median_interval_takes_the_ranked_values():
    values = [float(value) for value in np.random.default_rng(2).permutation(20)]
    assert median_interval(values, 1e-3) == (1, 18)
    assert median_interval(values, 0.025) == (3, 16)
    assert median_interval(values[:12], 1e-3) is None
    assert median_interval(values[:13], 1e-3) == (min(values[:13]), max(values[:13]))
    assert median_interval([], 1e-3) is None


def test_median_interval_refuses_nan():
    with pytest.raises(ValueError, match="NaN"):
        median_interval([1.0] * 20 + [math.nan], 1e-3)


def missed_at_any_time(runs, rounds, alpha, seed):
    """Shares of runs whose interval ever lies above, and ever below, the true median."""
    values = np.random.default_rng(seed).exponential(size=(runs, rounds))  # median ln 2
    above = below = 0
    for run in values:
        intervals = [median_interval(run[:n], alpha) for n in range(1, rounds + 1)]
        above += any(given is not None and given[0] > math.log(2) for given in intervals)
        below += any(given is not None and given[1] < math.log(2) for given in intervals)
    return above / runs, below / runs


def test_the_median_stays_inside_at_all_times():
    above, below = missed_at_any_time(runs=200, rounds=60, alpha=0.1, seed=3)
    assert 0 < above <= 0.1
    assert 0 < below <= 0.1


@pytest.mark.slow
def test_the_median_stays_inside_at_all_times_in_many_runs():
    above, below = missed_at_any_time(runs=2000, rounds=100, alpha=0.05, seed=4)
    assert 0.01 < above <= 0.05
    assert 0.01 < below <= 0.05


@pytest.mark.parametrize("alpha", [0, 1, -0.1, 2, math.nan])
def test_alpha_must_be_a_probability(alpha):
    with pytest.raises(ValueError, match="between 0 and 1"):
        is_proven(20, 20, alpha)


@pytest.mark.parametrize(("n", "k"), [(-1, 0), (3, 4), (3, -1)])
def test_impossible_counts_are_refused(n, k):
    with pytest.raises(ValueError, match="0 <= k <= n"):
        capital(n, k)
