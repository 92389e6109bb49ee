"""Shared rounds: what the workers of a run have timed of one pair, so that none times it again."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pytest_quant.machine.atomic_write import write_atomically
from pytest_quant.variant.rounds import Pair


class SharedRounds:
    """The rounds of one pair, in a file that ends with the run.

    Every worker goes on where another one has stopped, so that two gates in two workers judge by the same
    rounds, as two gates of one process do.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def joined(self, pair: Pair) -> Iterator[None]:
        """In which a pair has the rounds of other workers, and after which they have its own.

        To be used while no other worker times. Where two did so all the same, each keeps its own.
        """
        self._take(pair)
        before = len(pair.seconds_a)
        try:
            yield
        finally:
            if len(pair.seconds_a) > before:
                self._leave(pair)

    def _take(self, pair: Pair) -> None:
        try:
            rounds, spent = json.loads(self.path.read_bytes())
            seconds_a, seconds_b = [a for a, _ in rounds], [b for _, b in rounds]
        except (OSError, ValueError, TypeError):  # nothing is there, or it is damaged
            return
        own = len(pair.seconds_a)
        if seconds_a[:own] == pair.seconds_a and seconds_b[:own] == pair.seconds_b:
            pair.seconds_a[:], pair.seconds_b[:] = seconds_a, seconds_b
            pair.spent = max(pair.spent, spent)

    def _leave(self, pair: Pair) -> None:
        rounds = list(zip(pair.seconds_a, pair.seconds_b, strict=False))
        with suppress(OSError, RuntimeError):  # then another worker times it for itself
            write_atomically(self.path, json.dumps([rounds, pair.spent]))
