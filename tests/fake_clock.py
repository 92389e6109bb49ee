"""A clock that only models move, and pairs of such models: timing logic without time."""

import random
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

from pytest_quant.variant.rounds import Pair, Side


@dataclass
class FakeClock:
    """Seconds that pass only while a model runs; `log` holds (model, start, end) of each call."""

    now: float = 0.0
    log: list = field(default_factory=list)

    def __call__(self):
        return self.now


@dataclass
class FakeModel:
    """A model whose calls take `seconds`: a number, or a function of this model before the call."""

    name: str
    clock: FakeClock
    seconds: object
    calls: int = 0  # ever
    visit: int = 0  # how often it was this model's turn
    arrived: float = 0.0  # when its turn began

    def __call__(self):
        start = self.clock.now
        took = self.seconds(self) if callable(self.seconds) else self.seconds
        self.clock.now = start + took
        self.calls += 1
        self.clock.log.append((self.name, start, self.clock.now))

    @contextmanager
    def turn(self):
        self.visit += 1
        self.arrived = self.clock.now
        self.clock.log.append((f"enter {self.name}", self.clock.now, self.clock.now))
        yield


def fake_pair(a, b, *, remade=None, seed=0, clock=None, hold=nullcontext):
    """A pair whose calls take `a` and `b` seconds; `remade` makes another."""
    clock = clock or FakeClock()
    sides = [
        Side(model, model.turn) for model in (FakeModel("a", clock, a), FakeModel("b", clock, b))
    ]
    return Pair(*sides, remade or unwanted, hold, clock, batch=16, coin=random.Random(seed))


def unwanted():
    raise AssertionError("this pair was not to be made again")


def swaying(seconds, by=0.045):
    """Takes more and less in turn, so that no sign test ever decides at the mean."""
    return lambda model: seconds * (1 + by if model.visit % 2 else 1 - by)
