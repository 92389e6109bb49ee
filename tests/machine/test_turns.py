"""Turns: as many workers compute at once as there are cores for, and none waits for ever."""

import threading
import time

import pytest
from filelock import FileLock

from pytest_quant.machine import turns
from pytest_quant.machine.conditions import Conditions, isolated
from pytest_quant.machine.lock import locked
from pytest_quant.machine.turns import Turns, own_turn, take_turns


def workers(folder, count, *, turns, longest=60.0):
    return [Turns(folder, "turn", turns, longest) for _ in range(count)]


def most_at_once(some):
    """How many of these were inside at the same time, each of them several times."""
    inside, most, guard = set(), [0], threading.Lock()

    def work(own):
        for _ in range(5):
            with own.taken(), own.taken():
                with guard:
                    inside.add(id(own))
                    most[0] = max(most[0], len(inside))
                time.sleep(0.01)
                with guard:
                    inside.discard(id(own))

    threads = [threading.Thread(target=work, args=(own,)) for own in some]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return most[0]


@pytest.mark.parametrize("count", [1, 2])
def test_no_more_are_inside_than_there_are_turns(tmp_path, count):
    assert most_at_once(workers(tmp_path, 4, turns=count)) <= count
    assert most_at_once(workers(tmp_path, 2, turns=2)) == 2


def test_who_waits_for_another_one_gives_its_turn_back(tmp_path):
    one, other = workers(tmp_path, 2, turns=1)
    entered = []
    with one.taken():
        with one.given_back(), other.taken():
            entered.append("other")
        assert one._held is not None
    assert entered == ["other"]
    assert one._held is None


def test_a_turn_that_never_comes_is_waited_for_no_longer(tmp_path):
    one, other = workers(tmp_path, 2, turns=1, longest=0.1)
    with one.taken():
        with other.taken():
            assert other._held is None
        start = time.monotonic()
        with other.taken():  # not once more
            assert time.monotonic() - start < 0.1
    with one.taken():
        assert one._held is not None


def test_who_waits_gets_its_turn_from_one_that_comes_back_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(turns, "STREAK", 0.1)
    one, other = workers(tmp_path, 2, turns=1)
    waited, start = [], time.monotonic()

    def wait():
        with other.taken():
            waited.append(time.monotonic() - start)

    with one.taken():
        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.05)
    while not waited and time.monotonic() - start < 5:
        with one.taken():
            time.sleep(0.03)
    thread.join()
    assert waited[0] < 4


def test_an_interrupt_while_a_turn_is_waited_for_leaves_no_lock(tmp_path):
    class Interrupted(Turns):
        def _take(self):
            if self._depth:
                raise KeyboardInterrupt

    own = Interrupted(tmp_path, "turn", 1)
    holder = FileLock(tmp_path / "busy.lock", thread_local=False)
    holder.acquire()
    threading.Timer(0.3, holder.release).start()
    turns._turns = own
    try:
        waiting = locked("busy", "done", lambda line: None, within=tmp_path)
        with own.taken(), pytest.raises(KeyboardInterrupt), waiting:
            raise AssertionError("not reached")
    finally:
        turns._turns = None
    FileLock(tmp_path / "busy.lock").acquire(timeout=0)


def test_an_error_gives_the_turn_back(tmp_path):
    one, other = workers(tmp_path, 2, turns=1)
    with pytest.raises(KeyError), one.taken():
        raise KeyError
    with other.taken():
        assert other._held is not None


def test_what_is_isolated_is_in_a_turn_and_locks_are_waited_for_outside(tmp_path):
    other = Turns(tmp_path, "turn", 1)
    end = take_turns(tmp_path, "turn", 1)
    try:
        with isolated(Conditions(threads=1)):
            assert turns._turns._held is not None
            with locked("lock", "done", lambda line: None, within=tmp_path):
                assert turns._turns._held is not None
                held_meanwhile = _while_waiting_for("lock", tmp_path, other)
        assert held_meanwhile
    finally:
        end()
    assert turns._turns is None
    with own_turn():  # of a process that takes none
        pass


def _while_waiting_for(name, folder, other):
    """Whether the other one gets the turn while this process waits for a lock that a thread holds."""
    got = []

    def hold():
        with locked(f"{name}-2", "done", lambda line: None, within=folder):
            ready.set()
            with other.taken():
                got.append(other._held is not None)

    ready = threading.Event()
    thread = threading.Thread(target=hold)
    thread.start()
    ready.wait()
    with locked(f"{name}-2", "done", lambda line: None, within=folder):
        pass
    thread.join()
    return got == [True]
