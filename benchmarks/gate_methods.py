"""Four ways to judge a speed-up, each handed the same pair of models.

Three of them estimate a ratio and compare it with the limit. `gated` is ours and may also say that
it does not know. All of them run under what the pair holds (threads, inference mode, no garbage
collection), so they differ in nothing but the order of calls and the rule.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from types import SimpleNamespace
from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture
from pytest_benchmark.utils import NameWrapper

from pytest_quant.judge.speedup import decide_and_confirm
from pytest_quant.judge.verdict import Outcome
from pytest_quant.variant.rounds import Pair, Side

CALLS = 50  # of each model, in the two sequential methods
UNTIMED_CALLS = 5  # before them
ALPHA = 1e-3  # this and the next are the defaults of the gate
BUDGET = 30.0
OURS = "pytest-quant"
MEAN = f"mean of {CALLS}, then mean of {CALLS}"
LEAST = f"min of {CALLS}, then min of {CALLS}"
MEDIANS = "pytest-benchmark, ratio of medians"
MINIMA = "pytest-benchmark, ratio of minima"
RIVALS = (MEAN, LEAST, MEDIANS, MINIMA)


@dataclass(frozen=True, slots=True)
class Judged:
    """What one method said of one pair; `rounds` and `ratio` are of the first pair.

    `confirmed` is None unless our gate had to look at a re-made pair.
    """

    outcome: Outcome
    seconds: float
    ratio: float
    rounds: int = 0
    confirmed: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """A ratio that is taken for the speed-up, and the seconds that it took."""

    ratio: float
    seconds: float

    def judged(self, limit: float) -> Judged:
        """The estimate against a limit; it is always sure."""
        outcome = Outcome.PASS if self.ratio >= limit else Outcome.FAIL
        return Judged(outcome, self.seconds, self.ratio)


def gated(pair: Pair, limit: float) -> Judged:
    """Our gate with its defaults, confirmation included.

    Gates of one pair share its rounds, as in a test run; the seconds are then those of the rounds
    that this one looked at.
    """
    timing, confirmed = decide_and_confirm(pair, limit, ALPHA, BUDGET)
    seconds = pair.spent * timing.rounds / len(pair.seconds_a)
    if confirmed is None:
        return Judged(timing.outcome, seconds, pair.ratio, timing.rounds)
    seconds += confirmed.seconds
    return Judged(timing.outcome, seconds, pair.ratio, timing.rounds, confirmed.outcome)


def estimates(pair: Callable[[int], Pair]) -> dict[str, Estimate]:
    """The other methods, by name: two share the calls of pair(0), the other two those of pair(1)."""
    return _sequential(pair(0)) | _pytest_benchmark(pair(1))


def _sequential(pair: Pair) -> dict[str, Estimate]:
    """All calls of FP32, then all calls of the variant."""
    start = pair.clock()
    times: list[list[float]] = []
    with pair.hold():
        for side in (pair.a, pair.b):
            with side.context():
                for _ in range(UNTIMED_CALLS):
                    side.call()
                times.append([_one_call(side, pair.clock) for _ in range(CALLS)])
    seconds = pair.clock() - start
    fp32, own = times
    return {
        MEAN: Estimate(fmean(fp32) / fmean(own), seconds),
        LEAST: Estimate(min(fp32) / min(own), seconds),
    }


def _one_call(side: Side, clock: Callable[[], float]) -> float:
    start = clock()
    side.call()
    return clock() - start


def _pytest_benchmark(pair: Pair) -> dict[str, Estimate]:
    """One `benchmark` fixture for each model, with the options of a run without options."""
    start = pair.clock()
    with pair.hold():
        fp32, own = (_benchmarked(side, pair.clock) for side in (pair.a, pair.b))
    seconds = pair.clock() - start
    return {
        MEDIANS: Estimate(fp32.median / own.median, seconds),
        MINIMA: Estimate(fp32.min / own.min, seconds),
    }


def _benchmarked(side: Side, clock: Callable[[], float]) -> Any:
    """pytest-benchmark's own class, called as its fixture would be; its statistics."""
    BenchmarkFixture._precisions.clear()  # of each clock that it ever saw
    fixture = BenchmarkFixture(
        SimpleNamespace(name="speed", nodeid="speed"),
        disable_gc=False,
        timer=NameWrapper(clock),
        min_rounds=5,
        min_time=0.000005,
        max_time=1.0,
        precision=None,
        confidence=None,
        warmup=False,
        warmup_iterations=100_000,
        calibration_precision=10,
        add_stats=lambda stats: None,
        logger=SimpleNamespace(debug=lambda *args, **options: None),
        warner=None,
        disabled=False,
        cprofile=None,
        cprofile_loops=None,
        cprofile_dump=None,
    )
    with side.context():
        fixture(side.call)
    return fixture.stats.stats
