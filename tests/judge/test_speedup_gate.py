"""The speed gate under a fake clock: planted speed-ups, budgets, confirmation."""

import math
import random
import re

import pytest
from builders import timed_variant
from fake_clock import fake_pair, swaying

from pytest_quant import Outcome, QuantStageError, assert_min_speedup
from pytest_quant.judge import recorder
from pytest_quant.judge.speedup import (
    MOST_ROUNDS,
    MOST_SECONDS,
    decide,
    is_well_known,
    judge_speedup,
    shown_interval,
)

PASS, FAIL, INCONCLUSIVE = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE
B = 0.002


def noisy(seconds, spread=0.05, seed=0):
    """Takes log-normal time, anew on each turn."""
    random_ = random.Random(seed)
    drawn = {}
    return lambda model: seconds * drawn.setdefault(model.visit, math.exp(random_.gauss(0, spread)))


def pair_of(ratio, **more):
    return fake_pair(ratio * B, B, **more)


def judged(pair, limit=1.5, **more):
    return judge_speedup(timed_variant(pair), limit, **more)


def decided(pair, limit=1.5, alpha=1e-3, budget=30.0):
    return decide(pair, limit, alpha, budget)


def test_planted_1_6x_passes_at_1_5_in_the_fewest_rounds():
    verdict = judged(pair_of(1.6))
    assert verdict.outcome is PASS
    assert verdict.observed == pytest.approx(1.6)
    assert verdict.evidence["rounds"] == 13
    assert verdict.evidence["confirmed"] is None


def test_planted_1_3x_fails_at_1_5_and_is_confirmed_on_models_made_again():
    made = []

    def remade():
        made.append(pair_of(1.31))
        return made[0]

    pair = pair_of(1.3, remade=remade)
    verdict = judged(pair)
    assert verdict.outcome is FAIL
    assert verdict.evidence["confirmed"] == "FAIL"
    assert len(made) == 1
    assert len(made[0].seconds_a) == len(pair.seconds_a) == 13


def test_a_failure_that_is_not_confirmed_is_inconclusive():
    verdict = judged(pair_of(1.3, remade=lambda: pair_of(1.6)))
    assert verdict.outcome is INCONCLUSIVE
    assert verdict.evidence["confirmed"] == "PASS"
    assert verdict.sentence.endswith("it failed, but not again on re-made copies of both models")


def test_a_pass_is_not_made_again():
    assert judged(pair_of(1.6)).outcome is PASS  # making this pair again raises


def test_a_model_that_cannot_be_made_again_is_an_error_of_timing():
    def remade():
        raise TypeError("cannot pickle")

    with pytest.raises(
        QuantStageError, match=r"could not be re-made.*TypeError: cannot pickle"
    ) as e:
        judged(pair_of(1.3, remade=remade))
    assert e.value.stage == "time"


@pytest.mark.parametrize(
    ("ratio", "outcome"),
    [(1.56, PASS), (1.501, INCONCLUSIVE), (1.5, INCONCLUSIVE), (1.46, INCONCLUSIVE), (1.45, FAIL)],
)
def test_between_the_limit_and_3_per_cent_below_nothing_fails(ratio, outcome):
    pair = fake_pair(noisy(ratio * B, 0.005, seed=1), noisy(B, 0.005, seed=2))
    assert decided(pair).outcome is outcome


def test_marginal_is_inconclusive_after_60_rounds():
    timing = decided(pair_of(1.5))
    assert (timing.outcome, timing.rounds) == (INCONCLUSIVE, 60)
    assert timing.why == "it is too close to 1.5x to tell; leave 5 % of headroom"


def test_fp32_against_its_own_copy_is_marginal_at_1_and_passes_at_0_9():
    assert judge_speedup(timed_variant(pair_of(1.0), fp32=True), 1.0).outcome is INCONCLUSIVE
    assert judge_speedup(timed_variant(pair_of(1.0), fp32=True), 0.9).outcome is PASS


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_seen_through(seed):
    def pair(ratio):
        return fake_pair(noisy(ratio * B, 0.08, seed), noisy(B, 0.08, 100 + seed), seed=seed)

    assert decided(pair(1.65)).outcome is PASS
    assert decided(pair(1.35)).outcome is FAIL


def test_spikes_of_one_model_do_not_fail_it():
    random_ = random.Random(3)
    own = fake_pair(1.7 * B, lambda model: B + (0.2 if random_.random() < 0.02 else 0))
    assert decided(own).outcome is PASS


@pytest.mark.parametrize(("alpha", "rounds"), [(1e-2, 9), (1e-3, 13), (1e-4, 17)])
def test_a_smaller_alpha_takes_more_rounds(alpha, rounds):
    assert decided(pair_of(2), alpha=alpha).rounds == rounds


def test_300_rounds_are_the_most():
    timing = decided(fake_pair(swaying(1.5 * B), B), budget=40.0)
    assert (timing.outcome, timing.rounds) == (INCONCLUSIVE, MOST_ROUNDS)
    assert timing.why == "300 rounds did not decide; leave 5 % of headroom"


@pytest.mark.parametrize("budget", [3.0, 10.0])
def test_the_budget_is_kept(budget):
    pair = fake_pair(swaying(1.5 * B), B)
    timing = decided(pair, budget=budget)
    assert timing.outcome is INCONCLUSIVE
    assert budget <= pair.spent < budget + 0.1
    assert f"{timing.rounds} rounds in {budget:.0f} s did not decide" in timing.why


def test_a_slow_model_gets_15_rounds_whatever_the_budget():
    pair = fake_pair(swaying(2.0), 2.0 / 1.5)
    timing = decided(pair)
    assert (timing.outcome, timing.rounds) == (INCONCLUSIVE, 15)
    assert 100 < pair.spent < MOST_SECONDS


def test_a_slow_model_can_be_decided_within_its_15_rounds():
    assert decided(fake_pair(3.0, 1.5), limit=1.5).rounds == 13


@pytest.mark.parametrize(
    ("ratio", "remade", "why"),
    [
        (1.6, None, r"exceeded \(\d+ s\), since a round took 1.\d* s, and it takes 13 of them to "),
        (1.3, 1.3, "decide and a failure is confirmed on re-made copies"),
    ],
)
def test_a_budget_that_cannot_hold_says_why(ratio, remade, why):
    pair = fake_pair(ratio * 0.2, 0.2, remade=lambda: fake_pair(remade * 0.2, 0.2))
    verdict = judged(pair, budget=2.0)
    assert re.search(f"; the budget of 2 s was .*{why}", verdict.sentence)


def test_a_confirmation_beyond_the_budget_is_told():
    pair = pair_of(1.3, remade=lambda: pair_of(1.3))
    spent = judged(pair_of(1.3, remade=lambda: pair_of(1.3))).evidence["seconds"]
    sentence = judged(pair, budget=1.2 * spent).sentence
    assert sentence.endswith("s), since a failure is confirmed on re-made copies")


def test_the_fastest_fp32_is_looked_for_only_within_the_budget():
    for budget, known in ((60.0, 1.0), (2.0, None)):
        variant = timed_variant(fake_pair(0.4, 0.2))
        judge_speedup(variant, 1.5, budget=budget)
        assert variant.fp32.measured("format_gain") == known


def test_13_rounds_that_do_not_fit_into_300_s_are_not_begun():
    pair = fake_pair(20.0, 10.0)
    timing = decided(pair)
    assert timing.outcome is INCONCLUSIVE
    assert timing.rounds < 13
    assert pair.spent <= MOST_SECONDS


def test_300_s_are_the_most_even_for_a_larger_budget():
    pair = fake_pair(swaying(2.0), 2.0 / 1.5)
    decided(pair, budget=10_000)
    each = pair.spent / len(pair.seconds_a)
    assert MOST_SECONDS <= pair.spent < MOST_SECONDS + 1.5 * each


def four_of_five(seconds):
    """Faster than 1.5x on four turns of five."""
    return lambda model: seconds * (0.95 if model.visit % 5 else 1.04)


def test_the_seconds_that_an_undecided_gate_asks_for_decide_it():
    short = decided(fake_pair(1.5 * B, four_of_five(B)), budget=2.0)
    assert short.outcome is INCONCLUSIVE
    asked = float(re.search(r"about (\d+) s would \(--quant-timing-seconds\)", short.why)[1])
    assert 2 < asked < 20
    assert decided(fake_pair(1.5 * B, four_of_five(B)), budget=asked).outcome is PASS


def test_where_no_time_would_decide_headroom_is_asked_for():
    timing = decided(fake_pair(swaying(1.5 * B), B), budget=3.0)
    assert timing.why.endswith("nor would many more; leave 5 % of headroom")


def test_gates_on_one_pair_share_its_rounds():
    pair = pair_of(2)
    variant = timed_variant(pair)
    first = judge_speedup(variant, 1.5)
    clock = pair.clock.now
    second = judge_speedup(variant, 1.8)
    assert pair.clock.now == clock
    assert (first.outcome, second.outcome) == (PASS, PASS)
    assert first.evidence["rounds"] == second.evidence["rounds"] == len(pair.seconds_a) == 13


def test_a_second_gate_adds_only_the_rounds_that_it_lacks():
    pair = fake_pair(1.6 * B, four_of_five(B))
    assert decided(pair, limit=1.2).rounds == 13
    assert decided(pair, limit=1.6).rounds == len(pair.seconds_a) > 13


def test_a_second_gate_finds_the_budget_spent():
    pair = fake_pair(swaying(1.5 * B), B)
    decided(pair, limit=1.5, budget=5.0)
    rounds = len(pair.seconds_a)
    assert decided(pair, limit=1.5, budget=5.0).rounds == rounds == len(pair.seconds_a)


def test_the_baseline_may_be_the_best_fp32():
    given, best = pair_of(2.0), pair_of(1.6)
    best.baseline = "FP32 in channels_last, the fastest FP32"
    verdict = judge_speedup(timed_variant(given, best=best), 1.5, baseline="best")
    assert verdict.observed == pytest.approx(1.6)
    assert "1.60x [1.60, 1.60] as fast as FP32 in channels_last" in verdict.sentence
    assert given.seconds_a == []


def test_a_breach_is_one_sentence_with_its_interval():
    pair = fake_pair(0.0026, 0.002, remade=lambda: pair_of(1.3))
    with pytest.raises(AssertionError) as caught:
        assert_min_speedup(timed_variant(pair), 1.5)
    assert str(caught.value) == (
        "speed-up FAIL: dynamic is 1.30x [1.30, 1.30] as fast as FP32 as given (2.00 ms against "
        "2.60 ms for a batch of 16), required 1.5x"
    )


def test_what_could_not_be_decided_is_returned_and_raises_nothing():
    verdict = assert_min_speedup(timed_variant(pair_of(1.5)), 1.5)
    assert verdict.outcome is INCONCLUSIVE
    assert not verdict.passed
    assert verdict.sentence.startswith("speed-up INCONCLUSIVE: dynamic is 1.50x")


def test_the_budget_is_the_running_tests():
    pair = fake_pair(swaying(1.5 * B), B)
    with recorder.running(recorder.Running("test", timing_seconds=4.0)):
        assert_min_speedup(timed_variant(pair), 1.5)
    assert 4 <= pair.spent < 4.2


def test_the_evidence_is_plain():
    evidence = judged(fake_pair(noisy(1.6 * B, 0.01), B)).evidence
    assert evidence["interval_95"][0] < 1.6 < evidence["interval_95"][1]
    assert evidence["ms"] == pytest.approx(2)
    assert evidence["fp32_ms"] == pytest.approx(3.2, rel=0.02)
    assert 0.002 < evidence["round_spread"] < 0.02
    assert (evidence["alpha"], evidence["batch"]) == (1e-3, 16)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"baseline": "fastest"}, "baseline is 'fastest'; allowed: 'given', 'best', 'runtime'"),
        ({"alpha": 0}, "alpha is 0; expected an error probability above 0 and at most 0.05"),
        ({"alpha": 0.051}, "alpha is 0.051; expected an error probability"),
        ({"alpha": 1}, "alpha is 1; expected an error probability"),
        ({"alpha": 5}, "alpha is 5; expected an error probability"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_timed(wrong, sentence):
    pair = pair_of(2)
    with pytest.raises(ValueError, match=sentence):
        assert_min_speedup(timed_variant(pair), 1.5, **wrong)
    assert pair.seconds_a == []


def shown(pair):
    pair.add_rounds(20, 1e9, is_well_known)
    return len(pair.seconds_a)


@pytest.mark.parametrize(("spread", "rounds"), [(0.0, 8), (0.003, 8), (0.1, 20)])
def test_the_tables_own_rounds_end_when_the_speed_up_is_known_to_2_percent(spread, rounds):
    pair = fake_pair(noisy(1.6 * B, spread), noisy(B, spread, seed=1))
    assert shown(pair) == rounds
    low, high = shown_interval(pair)
    assert (max(high / pair.ratio, pair.ratio / low) <= 1.02) == (rounds < 20)


def test_rounds_of_gates_count_for_the_table_and_those_of_the_table_for_gates():
    pair = pair_of(1.6)
    judged(pair)
    assert shown(pair) == 13
    other = pair_of(1.6)
    assert shown(other) == 8
    assert judged(other).evidence["rounds"] == len(other.seconds_a) == 13


def test_nobody_waits_for_the_machine_where_no_round_is_missing():
    pair = pair_of(1.6)
    shown(pair)
    pair.hold = None
    assert shown(pair) == 8
