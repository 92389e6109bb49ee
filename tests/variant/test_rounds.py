"""Rounds: the timing loop under a fake clock, where only models make time pass."""

import random
from contextlib import contextmanager
from itertools import groupby

import pytest
from fake_clock import FakeClock, fake_pair

from pytest_quant.variant.rounds import BLOCK_SECONDS, SETTLE_SECONDS, WARM_UP_LIMIT


def timed(a, b, rounds=21, **more):
    pair = fake_pair(a, b, **more)
    pair.add_rounds(rounds, seconds=1e9)
    return pair


def turns(pair, rounds):
    """The last rounds' turns: (model, when its turn began, its calls' starts and ends)."""
    found = []
    for name, start, end in pair.clock.log:
        if name.startswith("enter"):
            found.append((name[-1], start, []))
        else:
            found[-1][2].append((start, end))
    return found[-2 * rounds :]


def spiky(seconds, share, seed):
    """One call in a hundred or so is held up for half a second."""
    random_ = random.Random(seed)
    return lambda model: seconds + (0.5 if random_.random() < share else 0)


@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.6, 4.0])
def test_the_ratio_is_the_planted_one(ratio):
    pair = timed(0.003 * ratio, 0.003)
    assert pair.ratio == pytest.approx(ratio, rel=1e-9)
    assert pair.milliseconds == (pytest.approx(3 * ratio), pytest.approx(3))


def test_spikes_that_hit_one_model_more_than_the_other_do_not_move_the_ratio():
    pair = timed(spiky(0.003, 0.02, seed=1), spiky(0.002, 0.005, seed=2), rounds=101)
    assert max(pair.seconds_a) > 2 * min(pair.seconds_a)
    assert pair.ratio == pytest.approx(1.5, rel=1e-9)


def test_drift_that_hits_both_models_does_not_move_the_ratio():
    def drifting(seconds):
        return lambda model: seconds * (1 + 0.1 * model.clock.now)  # twice as slow after 10 s

    pair = timed(drifting(0.003), drifting(0.002), rounds=201)
    assert pair.seconds_a[-1] > 2 * pair.seconds_a[0]
    assert pair.ratio == pytest.approx(1.5, rel=0.01)


def test_a_machine_that_slows_down_for_seconds_does_not_move_the_ratio():
    def disturbed(seconds):
        return lambda model: seconds * (2 if int(model.clock.now / 2) % 3 == 0 else 1)

    assert timed(disturbed(0.003), disturbed(0.002), rounds=201).ratio == pytest.approx(1.5)


def slow_at_first(seconds, *times):
    return lambda model: seconds * (times[model.calls] if model.calls < len(times) else 1)


def test_first_calls_that_are_slow_set_no_block():
    pair = timed(slow_at_first(0.003, 100, 5), slow_at_first(0.002, 200, 5))
    assert (pair.a.repeats, pair.b.repeats) == (7, 10)
    assert pair.ratio == pytest.approx(1.5, rel=1e-9)


def test_many_slow_calls_at_first_do_not_move_the_ratio():
    pair = timed(slow_at_first(0.003, *[50] * 8), slow_at_first(0.002, *[20] * 5))
    assert pair.ratio == pytest.approx(1.5, rel=1e-9)


def test_a_model_that_never_settles_is_timed_all_the_same():
    pair = timed(lambda model: 0.003 * (1 + model.calls % 2), 0.002, rounds=3)
    warm_up = turns(pair, 3)[0][1]
    assert WARM_UP_LIMIT <= warm_up <= WARM_UP_LIMIT + 0.1


def test_caches_that_are_cold_after_a_switch_do_not_move_the_ratio():
    def cold(seconds):
        return lambda model: seconds * (4 if model.clock.now - model.arrived < 0.015 else 1)

    pair = timed(0.006, cold(0.002))
    assert pair.ratio == pytest.approx(3, rel=1e-9)


def test_after_each_switch_calls_go_untimed_until_caches_are_warm():
    pair = timed(0.003, 0.0023)
    for name, start, calls in turns(pair, 21):
        timed_calls = {"a": 7, "b": 9}[name]
        untimed = calls[:-timed_calls]
        assert len(untimed) == {"a": 7, "b": 9}[name]  # the fewest that fill 20 ms
        assert untimed[-2][1] - start < SETTLE_SECONDS <= untimed[-1][1] - start


def test_a_slow_model_settles_with_one_call():
    pair = timed(0.5, 0.25, rounds=3)
    assert [len(calls) for name, _, calls in turns(pair, 3) if name == "a"] == [1 + 2] * 3


def test_what_is_timed_is_the_block_and_nothing_else():
    pair = timed(lambda model: 0.004 if model.clock.now - model.arrived < 0.02 else 0.003, 0.002)
    assert pair.seconds_a == [pytest.approx(0.003)] * 21


@pytest.mark.parametrize(
    ("a", "b", "repeats"),
    [
        (0.004, 0.002, (5, 10)),  # 20 ms at least
        (0.0001, 0.0001, (200, 200)),
        (0.030, 0.010, (2, 6)),  # two calls of the slower model
        (0.010, 0.040, (8, 2)),
        (0.050, 0.030, (2, 3)),  # 100 ms are 3.3 of the faster one's calls
    ],
)
def test_both_models_are_exposed_equally_long(a, b, repeats):
    pair = timed(a, b, rounds=3)
    assert (pair.a.repeats, pair.b.repeats) == repeats
    assert a * pair.a.repeats >= BLOCK_SECONDS - 1e-9


def test_a_coin_decides_who_comes_first():
    orders = []
    for seed in (0, 1):
        pair = timed(0.003, 0.002, rounds=200, seed=seed)
        names = [name for name, _, _ in turns(pair, 200)]
        firsts = names[::2]
        assert all(
            {first, second} == {"a", "b"} for first, second in zip(firsts, names[1::2], strict=True)
        )
        assert 70 < firsts.count("a") < 130
        assert max(len(list(run)) for _, run in groupby(firsts)) < 20
        orders.append(firsts)
    coin = random.Random(0)
    assert orders[0] == ["b" if coin.random() < 0.5 else "a" for _ in range(200)]
    assert orders[0] != orders[1]


def test_rounds_add_up_and_are_warmed_up_once():
    pair = fake_pair(0.003, 0.002)
    pair.add_rounds(4, seconds=1e9)
    first = list(pair.seconds_a)
    clock, turn_count = pair.clock.now, len(turns(pair, 10**6))
    pair.add_rounds(4, seconds=1e9)
    assert pair.clock.now == clock
    pair.add_rounds(6, seconds=1e9)
    assert pair.seconds_a[:4] == first
    assert len(pair.seconds_a) == len(pair.seconds_b) == len(pair.log_ratios) == 6
    assert len(turns(pair, 10**6)) == turn_count + 2 * 2


def test_the_time_spent_is_all_the_time_that_rounds_took():
    pair = fake_pair(0.003, 0.002)
    pair.clock.now = 100.0
    pair.add_rounds(5, seconds=1e9)
    assert pair.spent == pytest.approx(pair.clock.now - 100.0)


def test_rounds_end_when_their_time_is_over_but_there_are_three():
    assert len(timed_for(1.0, 0.5, seconds=1.0).seconds_a) == 3
    pair = timed_for(0.02, 0.02, seconds=5.0)
    assert 5.0 <= pair.spent < 5.0 + 0.2
    assert len(pair.seconds_a) > 3


def timed_for(a, b, seconds):
    pair = fake_pair(a, b)
    pair.add_rounds(10**6, seconds)
    return pair


def test_rounds_run_while_the_machine_is_held():
    held = []

    @contextmanager
    def hold():
        held.append("taken")
        yield
        held.append("given back")

    timed(lambda model: 0.003 if held == ["taken"] else 1 / 0, 0.002, hold=hold)
    assert held == ["taken", "given back"]


def test_each_model_runs_in_its_own_context():
    clock = FakeClock()
    pair = timed(0.003, 0.002, clock=clock)
    assert pair.clock is clock
    current = None
    for name, _, _ in clock.log:
        current = name[-1] if name.startswith("enter") else current
        assert name[-1] == current
