"""Shared rounds: a worker goes on where another one has stopped, and times nothing twice."""

from contextlib import contextmanager

import pytest
from fake_clock import fake_pair

from pytest_quant.judge.speedup import decide_and_confirm
from pytest_quant.judge.verdict import Outcome
from pytest_quant.variant.shared_rounds import SharedRounds


@pytest.fixture
def pair_of_a_worker(tmp_path):
    """Makes a pair as each worker has one, which shares its rounds in one file."""

    def make(a, b, **more):
        shared = SharedRounds(tmp_path / "rounds.json")

        @contextmanager
        def hold():
            with shared.joined(pair):
                yield

        pair = fake_pair(a, b, hold=hold, **more)
        return pair

    return make


def test_a_worker_times_nothing_that_another_one_has_timed(pair_of_a_worker):
    first, second = pair_of_a_worker(0.006, 0.003), pair_of_a_worker(9.0, 1.0)
    first.add_rounds(21, seconds=1e9)
    second.add_rounds(21, seconds=1e9)
    assert second.ratio == pytest.approx(2)
    assert second.clock.log == []
    assert second.spent == first.spent > 0


def test_a_worker_warms_up_before_it_adds_rounds_to_those_of_another(pair_of_a_worker):
    pair_of_a_worker(0.006, 0.003).add_rounds(5, seconds=1e9)
    second = pair_of_a_worker(0.004, 0.002)
    second.add_rounds(6, seconds=1e9)
    assert len(second.seconds_a) == 6
    assert second.a.repeats > 1  # which the warm-up sets
    assert [second.seconds_a[-1], second.seconds_b[-1]] == pytest.approx([0.004, 0.002])


def test_workers_that_take_turns_have_the_rounds_of_all(pair_of_a_worker):
    workers = [pair_of_a_worker(0.006, 0.003) for _ in range(3)]
    for rounds in range(3, 30):
        worker = workers[rounds % 3]
        worker.add_rounds(rounds, seconds=1e9)
        assert len(worker.seconds_a) == rounds


@pytest.mark.parametrize(("limit", "outcome"), [(1.5, Outcome.PASS), (2.5, Outcome.FAIL)])
def test_gates_of_two_workers_judge_by_the_same_rounds(pair_of_a_worker, limit, outcome):
    verdicts = []
    for _ in range(2):
        pair = pair_of_a_worker(0.006, 0.003, remade=lambda: fake_pair(0.006, 0.003))
        timing, confirmed = decide_and_confirm(pair, limit, 1e-3, 30.0)
        verdicts.append((timing, confirmed is not None, pair.seconds_a, pair.seconds_b))
    assert verdicts[0] == verdicts[1]
    assert verdicts[0][0].outcome is outcome


def test_what_broke_off_leaves_its_whole_rounds(pair_of_a_worker):
    def slow(model):
        if model.visit > 60:
            raise KeyboardInterrupt
        return 0.003

    first = pair_of_a_worker(0.006, slow)
    with pytest.raises(KeyboardInterrupt):
        first.add_rounds(50, seconds=1e9)
    second = pair_of_a_worker(0.006, 0.003)
    second.add_rounds(3, seconds=1e9)
    assert len(second.seconds_a) == len(second.seconds_b) == len(first.seconds_a) > 3


def test_two_that_timed_at_once_keep_their_own(tmp_path):
    shared = SharedRounds(tmp_path / "rounds.json")
    first, second = fake_pair(0.006, 0.003), fake_pair(0.008, 0.004)
    with shared.joined(first), shared.joined(second):
        second.add_rounds(4, seconds=1e9)
        first.add_rounds(7, seconds=1e9)
    with shared.joined(second):
        assert second.seconds_a == pytest.approx([0.008] * 4)


@pytest.mark.parametrize("content", ["", "[[", "{}", "[3, 1]", "[[[1]], 2]", "[null, null]"])
def test_a_damaged_file_is_as_none(tmp_path, content):
    (tmp_path / "rounds.json").write_text(content)
    shared, pair = SharedRounds(tmp_path / "rounds.json"), fake_pair(0.006, 0.003)
    with shared.joined(pair):
        pair.add_rounds(5, seconds=1e9)
    assert len(pair.seconds_a) == 5


def test_where_nothing_can_be_written_each_times_for_itself(tmp_path):
    (tmp_path / "file").write_text("")
    shared = SharedRounds(tmp_path / "file" / "rounds.json")
    for _ in range(2):
        pair = fake_pair(0.006, 0.003)
        with shared.joined(pair):
            pair.add_rounds(5, seconds=1e9)
        assert len(pair.seconds_a) == 5
