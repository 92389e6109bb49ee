"""Noise of a machine, made up on a fake clock: two models of known speed, and what disturbs them.

A call takes its model's own time, times white log-normal noise, times a slow drift, times the
slow episode that the machine may be in, plus the spikes that fall into it. Drift, episodes and
spikes belong to the machine: both models meet them, whoever runs at the time. Two effects belong
to a model: its first calls are slow, and a process effect (where its memory happened to be placed)
stays the same until it is made again.
"""

import math
import random
from contextlib import nullcontext
from dataclasses import dataclass

from pytest_quant.variant.rounds import Pair, Side

FP32_SECONDS = 0.030
TRUE_SPEEDUP = 1.5
PROCESS_SPREAD = 0.015  # sd of the log ratio from one process to the next; 0.9 to 1.6 % measured
EPISODE_SECONDS = 1.0  # mean length of a slow episode
SLOW_LEAST = 1.15  # by how much the mildest episode slows every call
SPIKE_SECONDS = 0.005  # the least; the rest follow Pareto's law with the next exponent
SPIKE_EXPONENT = 1.5
FIRST_CALLS = 3  # of a model ever made
FIRST_FACTOR = 1.5
READING_SECONDS = 1e-7  # of the clock; without it a calibration of the clock would never end


@dataclass(frozen=True, slots=True)
class Noise:
    """How loud a machine is.

    Args:
        name: of the table's row.
        white, drift: sd of the logarithm of a call's time.
        drift_seconds: after which time the drift has forgotten where it was.
        slow_share: of the time that is spent in slow episodes.
        slow_most: the worst episode's factor; each draws its own between 1.15 and this.
        spikes: each second, of at least 5 ms.
    """

    name: str
    white: float
    drift: float
    drift_seconds: float
    slow_share: float
    slow_most: float
    spikes: float


NOISES = (
    Noise("quiet", 0.01, 0.01, 5.0, 0.0, 1.0, 0.2),
    Noise("typical", 0.035, 0.04, 5.0, 0.17, 1.6, 1.0),
    Noise("hostile", 0.06, 0.08, 3.0, 0.33, 2.5, 3.0),
)


class Machine:
    """A clock that models move, and the state of the machine at that time; also reads the clock."""

    def __init__(self, noise: Noise, chance: random.Random) -> None:
        self.noise = noise
        self.chance = chance
        self.now = 0.0
        self._drift = chance.gauss(0, noise.drift)
        self._drift_at = 0.0
        self._is_slow = chance.random() >= noise.slow_share  # turned over by the first change
        self._slow = 1.0
        self._change_at = 0.0
        self._spike_at = chance.expovariate(noise.spikes)

    def __call__(self) -> float:
        self.now += READING_SECONDS
        return self.now

    def run(self, seconds: float) -> None:
        """Let one call pass that would take `seconds` on a silent machine."""
        white = self.chance.gauss(0, self.noise.white)
        took = seconds * math.exp(white + self._drifted()) * self._slowed()
        while self._spike_at < self.now + took:
            took += SPIKE_SECONDS * self.chance.paretovariate(SPIKE_EXPONENT)
            self._spike_at += self.chance.expovariate(self.noise.spikes)
        self.now += took

    def pair(self) -> Pair:
        """The two models, newly made: what the gate times, and makes again to confirm a FAIL."""
        effect = self.chance.gauss(0, PROCESS_SPREAD)
        own = FP32_SECONDS / TRUE_SPEEDUP * math.exp(effect)
        sides = [Side(Model(self, seconds).call, nullcontext) for seconds in (FP32_SECONDS, own)]
        return Pair(sides[0], sides[1], self.pair, nullcontext, self)

    def _drifted(self) -> float:
        """The Ornstein-Uhlenbeck drift, brought up to now."""
        kept = math.exp((self._drift_at - self.now) / self.noise.drift_seconds)
        new = self.noise.drift * math.sqrt(1 - kept * kept)
        self._drift = self._drift * kept + self.chance.gauss(0, new)
        self._drift_at = self.now
        return self._drift

    def _slowed(self) -> float:
        """The factor of the slow episode, 1 between two of them; both end by chance."""
        share = self.noise.slow_share
        while share and self.now >= self._change_at:
            self._is_slow = not self._is_slow
            self._slow = 1.0
            mean = EPISODE_SECONDS * (1 - share) / share
            if self._is_slow:
                self._slow = self.chance.uniform(SLOW_LEAST, self.noise.slow_most)
                mean = EPISODE_SECONDS
            self._change_at += self.chance.expovariate(1 / mean)
        return self._slow


@dataclass(slots=True)
class Model:
    """A model that does nothing but take time."""

    machine: Machine
    seconds: float
    calls: int = 0

    def call(self) -> None:
        """Take the time of one call."""
        self.calls += 1
        slow = FIRST_FACTOR if self.calls <= FIRST_CALLS else 1.0
        self.machine.run(self.seconds * slow)
