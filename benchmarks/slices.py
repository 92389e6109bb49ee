"""How often `assert_max_slice_drop` finds a class that broke, and how often it takes chance for a loss.

    python benchmarks/slices.py | tee benchmarks/logs/slices.txt

Each run makes up an eval set of right and wrong answers, equally many samples for each of 100 classes, of
which a share flips each way between FP32 and the variant; in some cases one class loses more. The gate of
the package then judges it, beside two others: the limit taken literally ("no class drops more than 5
points"), and the sign test without Holm's correction. "Alarm" is a FAIL that names a class that lost
nothing but by chance; the share of runs with one has to stay within alpha, 1 %.

In the second table every class of a population drops by exactly the limit, where a FAIL in the population
errs most easily, and a PASS where one class drops by the limit and the others by nothing.
"""

import argparse
import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from pytest_quant.judge.exact_tails import holm, sign_tail
from pytest_quant.judge.slice_population import bound_slices
from pytest_quant.subject.metrics import Metric
from pytest_quant.variant.slices import Slice

ALPHA = 0.01
CLASSES = 100
TOP_1 = Metric.top_k()


@dataclass(frozen=True, slots=True)
class Case:
    """What is planted: samples, share that flips each way, and what one class loses beside that."""

    samples: int
    flips: float
    broken: float
    limit: float = 0.05


CASES = (
    Case(10_000, 0.02, 0.0),
    Case(10_000, 0.02, 0.30),
    Case(10_000, 0.02, 0.20),
    Case(10_000, 0.02, 0.15),
    Case(10_000, 0.05, 0.0),
    Case(10_000, 0.05, 0.30),
    Case(5_000, 0.02, 0.0),
    Case(5_000, 0.02, 0.30),
    Case(50_000, 0.02, 0.0),
    Case(50_000, 0.02, 0.10),
)


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--runs", type=int, default=2000, help="of each case (2000)")
    options.add_argument("--population-runs", type=int, default=600, help="of each (600)")
    options.add_argument("--seed", type=int, default=20261128)
    given = options.parse_args()
    started = time.perf_counter()
    rng = np.random.default_rng(given.seed)
    print(
        f"{CLASSES} classes, limit 5 pt, alpha {ALPHA:g}, {given.runs} runs a case, seed {given.seed}\n"
    )
    heads = "samples, flip each way, one class loses, caught, alarm, limit alone, without Holm"
    print(f"| {heads.replace(', ', ' | ')} |")
    print("|---|---|---|---|---|---|---|")
    for case in CASES:
        print(_row(case, given.runs, rng), flush=True)
    print("\nIn the population, scope='population':\n")
    print(
        "| samples of a class | all classes drop | FAIL in error | one class drops 5 pt: PASS in error |"
    )
    print("|---|---|---|---|")
    for samples in (30, 60, 100, 300, 1000):
        print(_population_row(samples, given.population_runs, rng), flush=True)
    print(f"\n{time.perf_counter() - started:.0f} s")


def _row(case: Case, runs: int, rng: np.random.Generator) -> str:
    caught = alarm = literal = uncorrected = 0
    n = case.samples // CLASSES
    for _ in range(runs):
        lost, won = _planted(case, n, rng)
        drops = lost - won
        over = drops > math.floor(case.limit * n + 1e-9)
        chances = [sign_tail(int(a), int(b)) for a, b in zip(lost, won, strict=True)]
        failed = over & (np.array(holm(chances)) <= ALPHA)
        single = over & (np.array(chances) <= ALPHA)
        healthy = slice(1, None) if case.broken else slice(None)
        caught += bool(case.broken and failed[0])
        alarm += bool(failed[healthy].any())
        literal += bool(over[healthy].any())
        uncorrected += bool(single[healthy].any())
    found = f"{100 * caught / runs:.2f} %" if case.broken else "-"
    cells = (
        f"{case.samples:,}", f"{100 * case.flips:g} %",
        f"{100 * case.broken:g} pt" if case.broken else "none",
        found, *(f"{100 * count / runs:.2f} %" for count in (alarm, literal, uncorrected)),
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _planted(case: Case, n: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """Samples of each class that are lost and won; class 0 is the one that may lose more."""
    share = np.full(CLASSES, case.flips)
    share[0] += case.broken
    cells = [rng.multinomial(n, (loss, case.flips, 1 - loss - case.flips)) for loss in share]
    counts = np.array(cells)
    return counts[:, 0], counts[:, 1]


def _population_row(samples: int, runs: int, rng: np.random.Generator) -> str:
    failed = passed = 0
    for _ in range(runs):
        at_limit = [_slice(i, *_draw(rng, samples, 0.07, 0.02)) for i in range(CLASSES)]
        failed += bool(bound_slices(at_limit, TOP_1, 0.05, ALPHA).failed)
        parts = [_slice(0, *_draw(rng, samples, 0.07, 0.02))]
        parts += [_slice(i, 0, 0, samples) for i in range(1, CLASSES)]
        found = bound_slices(parts, TOP_1, 0.05, ALPHA)
        passed += not (found.failed or found.open)
    return (
        f"| {samples} | 5 pt (7 % lost, 2 % won) | {100 * failed / runs:.2f} % | "
        f"{100 * passed / runs:.2f} % |"
    )


def _draw(rng: np.random.Generator, n: int, lost: float, won: float) -> tuple[int, int, int]:
    a, b, _ = rng.multinomial(n, (lost, won, 1 - lost - won))
    return int(a), int(b), n


def _slice(index: int, lost: int, won: int, n: int) -> Slice:
    before, after = np.ones(n), np.ones(n)
    after[:lost] = 0
    before[lost : lost + won] = 0
    return Slice(f"class {index}", before, after, np.arange(n), lost, won, (lost - won) / n)


if __name__ == "__main__":
    main()
