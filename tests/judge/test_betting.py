"""Betting: against the plain sample-by-sample rule, exact at the end, seldom wrong before it."""

import math
from fractions import Fraction

import numpy as np
import pytest

from pytest_quant.judge.betting import FRACTIONS, DropBet, allowed_total, population_drop


def whole_set(n, losses, gains, rng):
    """Differences of n right-or-wrong samples, shuffled."""
    return rng.permutation(np.repeat([1, -1, 0], [losses, gains, n - losses - gains]))


def decide(differences, allowed, alpha, *, batch=50, zero_one=True):
    """The bet at its first verdict."""
    bet = DropBet(len(differences), allowed, alpha, zero_one=zero_one)
    for start in range(0, len(differences), batch):
        bet.update(differences[start : start + batch])
        if bet.passed or bet.failed:
            break
    return bet


# ---- the allowed total


def test_seven_percent_of_a_hundred_is_seven():
    assert 0.07 * 100 > 7
    assert allowed_total(0.07, 100) == 7
    assert allowed_total(0.29, 100) == 29 > int(0.29 * 100)


@pytest.mark.parametrize(("losses", "passes"), [(7, True), (8, False)])
def test_the_limit_itself_passes_and_one_more_fails(losses, passes):
    bet = DropBet(100, allowed_total(0.07, 100), 0, zero_one=True)
    bet.update([1] * losses + [0] * (100 - losses))
    assert (bet.passed, bet.failed, bet.certain) == (passes, not passes, True)


def test_right_or_wrong_scores_round_the_allowed_total_down():
    for zero_one in (True, False):
        bet = DropBet(150, allowed_total(0.01, 150), 0, zero_one=zero_one)  # 1.5 samples
        bet.update([1, 1] + [0] * 148)
        assert bet.failed
    differences = whole_set(2000, 30, 30, np.random.default_rng(4))
    whole, half_more = (
        decide(differences, allowed, 0.01, batch=1) for allowed in (20, Fraction(41, 2))
    )
    assert whole.passed
    assert not whole.certain
    assert (half_more.passed, half_more.seen) == (True, whole.seen)


# ---- early verdicts


def plain_rule(differences, allowed, alpha, batch, zero_one):
    """(samples seen, verdict): the same bets with one sample and one fraction at a time."""
    n, total = len(differences), 0.0
    pass_logs, fail_logs = [0.0] * len(FRACTIONS), [0.0] * len(FRACTIONS)

    def reached(logs):
        return sum(math.exp(log) for log in logs) / len(logs) >= 1 / alpha

    for seen, x in enumerate(differences):
        rest = n - seen
        too_big = min(max((float(allowed) + zero_one - total) / rest, -1), 1)
        acceptable = min(max((float(allowed) - total) / rest, -1), 1)
        for i, share in enumerate(FRACTIONS):
            pass_logs[i] += math.log1p(share * (too_big - x) / max(1 - too_big, 1e-9))
            fail_logs[i] += math.log1p(share * (x - acceptable) / max(1 + acceptable, 1e-9))
        total += x
        rest -= 1
        if (seen + 1) % batch == 0 or not rest:
            if total + rest <= allowed or total - rest > allowed:
                return seen + 1, "PASS" if total + rest <= allowed else "FAIL"
            if reached(pass_logs):
                return seen + 1, "PASS"
            if reached(fail_logs):
                return seen + 1, "FAIL"
    raise AssertionError("all samples are seen, so there is a verdict")


@pytest.mark.parametrize("batch", [1, 7, 64])
@pytest.mark.parametrize("zero_one", [True, False])
@pytest.mark.parametrize("excess", [-20, 0, 5, 10, 11, 40])
def test_vectorised_bets_are_the_plain_ones(batch, zero_one, excess):
    differences = whole_set(1000, 25 + excess, 25, np.random.default_rng(batch))
    if not zero_one:
        differences = differences * 0.75
    seen, verdict = plain_rule(differences.tolist(), 10, 0.05, batch, zero_one)
    bet = decide(differences, 10, 0.05, batch=batch, zero_one=zero_one)
    assert (bet.seen, bet.passed, bet.failed) == (seen, verdict == "PASS", verdict == "FAIL")


def test_a_harmless_variant_passes_early_and_a_broken_one_fails_early():
    rng = np.random.default_rng(5)
    harmless = decide(whole_set(20_000, 100, 100, rng), 200, 1e-3)
    broken = decide(whole_set(20_000, 1100, 100, rng), 200, 1e-3)
    assert harmless.passed
    assert not harmless.certain
    assert harmless.seen < 6000
    assert broken.failed
    assert not broken.certain
    assert broken.seen < 2000


def test_a_larger_limit_never_delays_a_pass_nor_hastens_a_fail():
    differences = whole_set(3000, 60, 30, np.random.default_rng(6))
    verdicts = [decide(differences, allowed, 0.01) for allowed in range(0, 91, 6)]
    kinds = [bet.passed for bet in verdicts]
    assert kinds == sorted(kinds)
    assert 0 < sum(kinds) < len(kinds)
    passes = [bet.seen for bet in verdicts if bet.passed]
    fails = [bet.seen for bet in verdicts if bet.failed]
    assert passes == sorted(passes, reverse=True)
    assert fails == sorted(fails)


def wrong_share(differences, allowed, alpha, runs, rng, *, zero_one=True):
    """Share of shuffles in which the early verdict contradicts the exact one."""
    truth = sum(map(Fraction, differences.tolist())) <= allowed
    bets = [
        decide(rng.permutation(differences), allowed, alpha, zero_one=zero_one) for _ in range(runs)
    ]
    return sum(bet.passed != truth for bet in bets) / runs


@pytest.mark.parametrize("excess", [10, 11])
def test_at_the_limit_wrong_verdicts_stay_below_alpha(excess):
    rng = np.random.default_rng(7)
    differences = whole_set(1000, 20 + excess, 20, rng)
    assert 0 < wrong_share(differences, 10, 0.05, 400, rng) <= 0.05


@pytest.mark.parametrize("beyond", [0, 1e-6])
def test_at_the_limit_wrong_verdicts_stay_below_alpha_for_real_scores(beyond):
    rng = np.random.default_rng(8)
    differences = rng.uniform(-0.5, 0.5, 1000) * (rng.random(1000) < 0.2)
    allowed = sum(map(Fraction, differences.tolist())) - Fraction(beyond)
    assert wrong_share(differences, allowed, 0.05, 300, rng, zero_one=False) <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("disagreements", [60, 250])
@pytest.mark.parametrize("excess", [50, 51])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_at_the_limit_of_5000_samples(disagreements, excess, alpha):
    rng = np.random.default_rng(9)
    losses = (disagreements + excess) // 2
    differences = whole_set(5000, losses, losses - excess, rng)
    assert wrong_share(differences, 50, alpha, 300, rng) <= alpha


# ---- certainty


@pytest.mark.parametrize("zero_one", [True, False])
def test_with_all_samples_seen_the_verdict_is_exact(zero_one):
    rng = np.random.default_rng(10)
    for _ in range(100):
        differences = rng.integers(-1, 2, size=int(rng.integers(1, 40)))
        allowed = int(differences.sum()) + int(rng.integers(-1, 2))
        bet = DropBet(len(differences), allowed, 0.3, zero_one=zero_one)
        bet.update(differences)
        assert bet.certain
        assert bet.passed is bool(differences.sum() <= allowed)
        assert bet.failed is not bet.passed


def test_without_alpha_only_certainty_stops():
    passing = decide(np.zeros(100, dtype=int), 1, 0, batch=1)
    assert (passing.seen, passing.passed, passing.certain) == (99, True, True)
    failing = decide(np.ones(100, dtype=int), 1, 0, batch=1)
    assert (failing.seen, failing.failed, failing.certain) == (51, True, True)


def test_what_the_unseen_samples_can_add_brings_certainty_sooner():
    undecided, passing, failing = (DropBet(100, 5, 0, zero_one=True) for _ in range(3))
    undecided.update([1] * 3 + [0] * 47)
    passing.update([1] * 3 + [0] * 47, rest_max=2)
    failing.update([1] * 10 + [0] * 40, rest_min=-4)
    assert (undecided.passed, undecided.failed) == (False, False)
    assert (passing.passed, passing.certain) == (True, True)
    assert (failing.failed, failing.certain) == (True, True)


def test_the_unseen_cannot_add_more_than_there_is():
    bet = DropBet(10, 5, 0, zero_one=True)
    bet.update([1] * 5 + [0] * 5, rest_max=3)
    assert bet.passed


def test_only_certainty_overrules_an_early_verdict():
    bet = DropBet(1000, 10, 0.05, zero_one=True)
    bet.update([0] * 500)  # not a random order: the losses come last
    assert (bet.passed, bet.certain) == (True, False)
    bet.update([1] * 10)
    assert (bet.passed, bet.failed, bet.certain) == (True, False, False)
    bet.update([1] * 490)
    assert (bet.passed, bet.failed, bet.certain) == (False, True, True)


def test_ties_of_a_relative_drop_are_exact_in_fractions():
    kept = 1 - Fraction("0.01")  # FP32 right on all 100, the variant on 99: exactly 1 % less
    bet = DropBet(100, 0, 0)
    bet.update([kept - 1] * 99 + [kept])
    assert (bet.passed, bet.total) == (True, 0)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "bool", "float32"])
def test_small_types_do_not_overflow(dtype):
    bet = DropBet(1000, 400, 0)
    bet.update(np.ones(300, dtype=dtype))
    bet.update(np.ones(101, dtype=dtype))
    bet.update(np.array([], dtype=dtype))
    assert (bet.seen, bet.total) == (401, 401)


# ---- bad input


@pytest.mark.parametrize(("samples", "alpha"), [(0, 0.01), (-5, 0.01), (10, 1), (10, -0.1)])
def test_an_impossible_set_is_refused(samples, alpha):
    with pytest.raises(ValueError, match="at least one sample"):
        DropBet(samples, 0, alpha)


@pytest.mark.parametrize("x", [1.01, -3, math.nan, math.inf])
def test_differences_out_of_range_are_refused(x):
    with pytest.raises(ValueError, match=r"\[-1, 1\]"):
        DropBet(10, 0, 0.01).update([0.5, x])
    with pytest.raises(ValueError, match=r"\[-1, 1\]"):
        population_drop([0.5, x], 0.01, 0.01)


def test_parts_of_samples_and_samples_too_many_are_refused():
    bet = DropBet(3, 0, 0.01, zero_one=True)
    with pytest.raises(ValueError, match="zero_one=False"):
        bet.update([0.5])
    bet.update([0, 0])
    with pytest.raises(ValueError, match="1 more differences than the set's 3"):
        bet.update([0, 0])
    assert (bet.seen, bet.total) == (2, 0)


# ---- the population


def rare_losses(n, rng):
    """A little noise, and one sample in fifty that loses half a point; the mean is 0.01."""
    return np.clip(rng.normal(0, 0.02, n) + 0.5 * (rng.random(n) < 0.02), -1, 1)


def student_upper(differences, quantile):
    return differences.mean() + quantile * differences.std(ddof=1) / math.sqrt(len(differences))


def test_bounds_of_one_sample_by_hand():
    """The capital is 1 + mean(c) (m + 1) / (1 - m) after x = -1: solve for 1 / alpha."""
    odds = (1 / 0.05 - 1) / FRACTIONS.mean()
    drop = population_drop([-1], 0, 0.05)
    assert drop.upper == pytest.approx((odds - 1) / (odds + 1), abs=1e-6)
    assert (drop.lower, drop.mean, drop.n) == (-1, -1, 1)


def test_agreement_proves_a_margin_only_with_enough_samples():
    def capital(n):
        return sum((1 + share * 0.01 / 0.99) ** n for share in FRACTIONS) / len(FRACTIONS)

    enough = next(n for n in range(1, 2000) if capital(n) >= 100)
    assert enough > 450  # ln(100) / 0.01
    assert population_drop([0] * enough, 0.01, 0.01).passed
    assert not population_drop([0] * (enough - 1), 0.01, 0.01).passed


def test_verdict_and_bounds_agree_and_hold_the_mean():
    rng = np.random.default_rng(11)
    differences = rng.choice([-1, 0, 1], 3000, p=[0.01, 0.96, 0.03])
    drop = population_drop(differences, 0.02, 0.01)
    assert -1 < drop.lower < drop.mean < drop.upper < 1
    assert (drop.passed, drop.failed) == (False, False)
    assert population_drop(differences, drop.upper + 1e-6, 0.01).passed
    assert not population_drop(differences, drop.upper - 1e-6, 0.01).passed
    assert population_drop(differences, drop.lower - 1e-6, 0.01).failed
    assert not population_drop(differences, drop.lower + 1e-6, 0.01).failed


def test_order_does_not_matter_and_the_mirror_image_is_mirrored():
    rng = np.random.default_rng(12)
    differences = rng.uniform(-0.1, 0.2, 500)
    drop = population_drop(differences, 0.01, 0.01)
    assert drop.failed
    shuffled = population_drop(rng.permutation(differences), 0.01, 0.01)
    assert (shuffled.lower, shuffled.upper) == (drop.lower, drop.upper)
    mirrored = population_drop(-differences, -0.01, 0.01)
    assert mirrored.passed
    assert (mirrored.lower, mirrored.upper) == pytest.approx((-drop.upper, -drop.lower))


def test_bounds_narrow_with_samples_and_widen_with_confidence():
    differences = np.random.default_rng(13).uniform(-0.2, 0.2, 2000)
    uppers = [population_drop(differences[:n], 0, 0.01).upper for n in (50, 200, 2000)]
    assert uppers == sorted(uppers, reverse=True)
    assert uppers[-1] < 0.02
    assert population_drop(differences, 0, 1e-4).upper > uppers[-1]


def test_rare_losses_do_not_fool_it_as_they_fool_students_t():
    rng = np.random.default_rng(14)
    samples = [rare_losses(50, rng) for _ in range(400)]
    fooled = sum(student_upper(sample, 1.677) <= 0.01 for sample in samples)
    assert fooled > 0.25 * 400
    assert not any(population_drop(sample, 0.01, 0.05).passed for sample in samples)


@pytest.mark.slow
@pytest.mark.parametrize("n", [200, 1000, 5000])
def test_at_the_margin_of_a_population_wrong_verdicts_stay_below_alpha(n):
    rng = np.random.default_rng(15)
    drops = [population_drop(rare_losses(n, rng), 0.01, 0.05) for _ in range(200)]
    assert sum(drop.passed for drop in drops) <= 0.05 * 200
    assert sum(drop.failed for drop in drops) <= 0.05 * 200
    assert all(drop.lower <= drop.mean <= drop.upper for drop in drops)


@pytest.mark.parametrize(("margin", "alpha"), [(1.5, 0.01), (0.01, 0), (0.01, 1)])
def test_impossible_questions_are_refused(margin, alpha):
    with pytest.raises(ValueError, match="given"):
        population_drop([0.0], margin, alpha)


def test_no_sample_gives_no_bound():
    with pytest.raises(ValueError, match="at least one sample"):
        population_drop([], 0.01, 0.01)
