"""Latency: rounds of FP32 and a variant side by side, each giving one ratio.

Two blocks of equal length in time, in an order that a coin decides, make a round; what slows the
machine then slows both. After each switch some calls go untimed, because the other model's
weights have to leave the caches first; without them the ratio of two models of different size was
wrong by up to 44 %.
"""

import math
import random
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

SETTLE_SECONDS = 0.02  # caches were warm again after 10 to 20 ms
BLOCK_SECONDS = 0.02  # a block is at least this long, and at least two calls of the slower model
WARM_UP_SECONDS = 0.3
WARM_UP_AGREEMENT = 0.1  # relative; the last two blocks of each model
WARM_UP_LIMIT = 3.0  # seconds
FEWEST_ROUNDS = 3  # for a figure in a table; a gate asks for more

Clock = Callable[[], float]


@dataclass(slots=True)
class Side:
    """One of the two models: how it is called, and in what context.

    Args:
        call: one call, for what is not timed.
        context: in which it runs.
        repeats: calls in a timed block.
        fresh: gives the call of a block of so many, whose inputs nobody has seen; None for `call`.
    """

    call: Callable[[], Any]
    context: Callable[[], AbstractContextManager[None]]
    repeats: int = 1
    fresh: Callable[[int], Callable[[], Any]] | None = None

    def block(self) -> Callable[[], Any]:
        """The call of the next timed block."""
        return self.call if self.fresh is None else self.fresh(self.repeats)


@dataclass(slots=True)
class Pair:
    """FP32 (a) and a variant (b), timed in rounds.

    Args:
        a, b: the two sides.
        remade: makes the pair once more from fresh copies, to confirm a failure.
        hold: what is held while rounds run: threads, garbage collection, the machine.
        clock: seconds, monotonic.
        advance: told of each round.
        baseline: what a is, for a person.
        batch: samples in one call.
    """

    a: Side
    b: Side
    remade: Callable[[], "Pair"]
    hold: Callable[[], AbstractContextManager[None]]
    clock: Clock = time.perf_counter
    baseline: str = "FP32 as given"
    batch: int = 0
    seconds_a: list[float] = field(default_factory=list)
    seconds_b: list[float] = field(default_factory=list)
    spent: float = 0.0
    advance: Callable[[int], None] = field(default=lambda rounds: None)
    coin: random.Random = field(default_factory=lambda: random.Random(0))
    _is_warm: bool = False  # in this process, whoever has timed the rounds that are there

    @property
    def log_ratios(self) -> list[float]:
        """ln(t_a / t_b) of each round: positive where the variant is faster."""
        return [math.log(a / b) for a, b in zip(self.seconds_a, self.seconds_b, strict=True)]

    @property
    def ratio(self) -> float:
        """The median speed-up; 1 is as fast as the baseline."""
        return math.exp(statistics.median(self.log_ratios))

    @property
    def milliseconds(self) -> tuple[float, float]:
        """Median of one call of a and of b."""
        return 1e3 * statistics.median(self.seconds_a), 1e3 * statistics.median(self.seconds_b)

    def add_round(self) -> None:
        """Time one more round; the first one warms up and sets the blocks' lengths."""
        start = self.clock()
        if not self._is_warm and self.a.repeats == self.b.repeats == 1:
            self._warm_up()
        self._is_warm = True
        sides = [(self.a, self.seconds_a), (self.b, self.seconds_b)]
        if self.coin.random() < 0.5:
            sides.reverse()
        timed = []
        for side, seconds in sides:
            with side.context():
                call = side.block()  # before the caches are warm, since it writes inputs
                self._settle(side)
                timed.append((seconds, self._block(side, call)))
        for seconds, value in timed:
            seconds.append(value)
        self.spent += self.clock() - start
        self.advance(1)

    def add_rounds(
        self, rounds: int, seconds: float, is_enough: Callable[["Pair"], bool] | None = None
    ) -> None:
        """Time until there are `rounds` rounds, or this pair has taken `seconds` (3 at least).

        Args:
            is_enough: asked before each round whether those that are there will do.
        """
        if self._is_done(rounds, seconds, is_enough):
            return  # without waiting for others to have timed
        with self.hold():
            while not self._is_done(rounds, seconds, is_enough):
                self.add_round()

    def _is_done(
        self, rounds: int, seconds: float, is_enough: Callable[["Pair"], bool] | None
    ) -> bool:
        done = len(self.seconds_a)
        if done >= rounds or (self.spent >= seconds and done >= FEWEST_ROUNDS):
            return True
        return is_enough is not None and done >= FEWEST_ROUNDS and is_enough(self)

    def _warm_up(self) -> None:
        start = self.clock()
        history: tuple[list[float], list[float]] = ([], [])
        while True:
            for side, times in zip((self.a, self.b), history, strict=True):
                with side.context():
                    times.append(self._block(side, side.block()))
            elapsed = self.clock() - start
            steady = all(_agree(times) for times in history)
            if len(history[0]) >= 3 and elapsed >= WARM_UP_SECONDS and steady:
                break
            if elapsed >= WARM_UP_LIMIT and len(history[0]) >= 2:
                break
        a, b = (statistics.median(times[1:]) for times in history)
        block = max(BLOCK_SECONDS, 2 * max(a, b))
        self.a.repeats, self.b.repeats = (max(1, round(block / seconds)) for seconds in (a, b))

    def _settle(self, side: Side) -> None:
        start = self.clock()
        while True:
            side.call()
            if self.clock() - start >= SETTLE_SECONDS:
                return

    def _block(self, side: Side, call: Callable[[], Any]) -> float:
        start = self.clock()
        for _ in range(side.repeats):
            call()
        return (self.clock() - start) / side.repeats


def _agree(times: list[float]) -> bool:
    return len(times) >= 2 and abs(times[-1] - times[-2]) <= WARM_UP_AGREEMENT * times[-1]
