"""Turns: of the workers of a run as many compute at a time as there are cores for their threads.

More would wait for each other inside PyTorch's thread pools, where a worker that spins takes the core that
another one needs: two workers of two threads on two cores took three times as long as one.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from pytest_quant.machine.opened import leave_out

LONGEST = 600.0  # seconds that a turn is waited for; whatever holds it then, this worker goes on
POLL = 0.02  # seconds between two looks
STREAK = 2.0  # seconds, after which a process leaves its turn to one that waits
FRESH = 0.2  # seconds since somebody who waits has looked


class Turns:
    """The turns of one process.

    Args:
        folder: of the lock files.
        name: of these, which all workers of the run share.
        count: how many workers may compute at once.
        longest: seconds that a turn is waited for; a process that has waited so long takes none any more.
    """

    def __init__(self, folder: Path, name: str, count: int, longest: float = LONGEST) -> None:
        from filelock import FileLock

        folder.mkdir(parents=True, exist_ok=True)
        leave_out(folder)  # no build reads them
        self._locks = [
            FileLock(folder / f"{name}-{number}.lock", thread_local=False)
            for number in range(count)
        ]
        self._wanted = folder / f"{name}-wanted.pid"  # written to by who waits
        self._since = time.monotonic()  # when this process last left the turn to others
        self._longest = longest
        self._held: Any = None
        self._depth = 0
        self._guard = threading.RLock()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """In which this process has a turn; inside itself it is the same one."""
        with self._guard:
            if self._depth == 0:
                self._take()
            self._depth += 1
        try:
            yield
        finally:
            with self._guard:
                self._depth -= 1
                if self._depth == 0:
                    self._give()

    @contextmanager
    def given_back(self) -> Iterator[None]:
        """In which another worker may have the turn, since this one waits for what another may hold."""
        with self._guard:
            self._give()
        try:
            yield
        finally:
            with self._guard:
                if self._depth:
                    self._take()

    def _take(self) -> None:
        from filelock import Timeout

        end = time.monotonic() + self._longest
        if time.monotonic() > self._since + STREAK:
            self._since = time.monotonic()
            if self._is_wanted():  # who waits looks less often than this process comes back
                time.sleep(2 * POLL)
        while self._held is None and self._locks:
            for lock in self._locks:
                try:
                    lock.acquire(timeout=0)
                except Timeout:
                    continue
                except (OSError, RuntimeError):  # where there are no locks there are no turns
                    return
                self._held = lock
                return
            if time.monotonic() > end:  # whatever its holder does, it does it for very long
                self._locks = []
            with suppress(OSError):
                self._wanted.touch()
            time.sleep(POLL)

    def _is_wanted(self) -> bool:
        try:
            return time.time() - self._wanted.stat().st_mtime < FRESH
        except OSError:
            return False

    def _give(self) -> None:
        if self._held is not None:
            with suppress(OSError):
                self._held.release(force=True)
            self._held = None


_turns: Turns | None = None


def take_turns(folder: Path, name: str, count: int) -> Callable[[], None]:
    """From now on this process computes in turns, as `Turns` says; what is given ends that."""
    global _turns
    before = _turns
    with suppress(OSError):
        _turns = Turns(folder, name, count)

    def end() -> None:
        global _turns
        _turns = before

    return end


def own_turn() -> AbstractContextManager[None]:
    """In which this process computes; it waits for its turn where others do."""
    return nullcontext() if _turns is None else _turns.taken()


def turn_given_back() -> AbstractContextManager[None]:
    """In which this process waits for another one, and keeps it from nothing."""
    return nullcontext() if _turns is None else _turns.given_back()
