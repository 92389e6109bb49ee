"""How often a speed gate is wrong: ours beside three other ways to compare two models.

    python benchmarks/gate_errors.py simulate | tee benchmarks/logs/gate_errors_simulate.txt
    python benchmarks/gate_errors.py real | tee benchmarks/logs/gate_errors_real.txt

`simulate` plants a speed-up of 1.5 on a fake clock with three levels of noise (see `noise`), and
drives the gate's own rounds, sign test and confirmation. `real` times a small CNN and its static
int8 variant on this machine; its "true" speed-up is the median of a long interleaved run, made
before and once more after all others. Each run gets fresh copies of both models, and its limits
share rounds, as gates of one test run do.

Limits are set so that the true speed-up is some per cent above them (a FAIL is false) or below (a
PASS is false, and what is not FAIL is missed). "pytest-benchmark" is its own timing class with its
default options, once for each model; its medians or minima are divided. See `gate_methods`.
"""

import argparse
import math
import os
import random
import sys
import time
from collections import defaultdict
from functools import partial

from gate_methods import OURS, estimates, gated
from gate_tables import Tally, middle, print_errors, print_gates, print_goals, spread
from noise import NOISES, PROCESS_SPREAD, TRUE_SPEEDUP, Machine, Noise

from pytest_quant.machine.conditions import available_cores
from pytest_quant.variant.rounds import Pair

# The true speed-up as a multiple of the limit: two that should pass, two that should fail.
SIMULATED = (1.05, 1.10, 0.95, 0.90)
REAL = (1.05, 1.10, 1 / 1.05, 1 / 1.10)
TRUE_ROUNDS = 300
TRUE_ROUNDS_AFTER = 150


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = options.add_subparsers(dest="kind", required=True)
    simulated = kinds.add_parser("simulate", help="planted speed-ups on a fake clock")
    simulated.add_argument("--runs", type=int, default=2000, help="of each noise and limit (2000)")
    simulated.add_argument("--seed", type=int, default=20240607)
    real = kinds.add_parser("real", help="an int8 model on this machine")
    real.add_argument("--runs", type=int, default=200, help="with 5 %% headroom (200)")
    real.add_argument("--others", type=int, default=40, help="with each other limit (40)")
    real.add_argument("--rivals", type=int, default=40, help="of the other methods (40)")
    real.add_argument("--own", type=int, default=5, help="of FP32 against its copy (5)")
    real.add_argument("--threads", type=int, default=1, help="of PyTorch (1)")
    real.add_argument("--minutes", type=float, default=30, help="stop early after this (30)")
    real.add_argument("--seed", type=int, default=20240607, help="of the random weights")
    given = options.parse_args()
    print(f"$ python benchmarks/gate_errors.py {' '.join(sys.argv[1:])}\n")
    started = time.perf_counter()
    if given.kind == "simulate":
        simulate(given.runs, given.seed)
    else:
        measure(given)
    print(f"\n{(time.perf_counter() - started) / 60:.1f} min in all")


def simulate(runs: int, seed: int) -> None:
    """Run and print the simulation."""
    print(
        f"{runs} runs of each noise and limit, seed {seed}; true speed-up {TRUE_SPEEDUP:g}, process "
        f"effect sd {PROCESS_SPREAD:.1%}; seconds are those of the fake clock\n"
    )
    tallies = {noise.name: simulated(noise, runs, seed) for noise in NOISES}
    print_errors(tallies, SIMULATED)
    print_gates(tallies, SIMULATED)
    print_goals(tallies, SIMULATED, caught_in=("quiet", "typical"))


def simulated(noise: Noise, runs: int, seed: int) -> Tally:
    """All methods under one noise; each pair on a machine of its own."""
    tally: Tally = defaultdict(list)

    def pair(*what: object) -> Pair:
        return Machine(noise, random.Random(f"{seed} {noise.name} {what}")).pair()

    for run in range(runs):
        others = estimates(partial(pair, run, "others"))
        for factor in SIMULATED:
            limit = TRUE_SPEEDUP / factor
            tally[OURS, factor].append(gated(pair(run, factor), limit))
            for name, estimate in others.items():
                tally[name, factor].append(estimate.judged(limit))
    return tally


def measure(given: argparse.Namespace) -> None:
    """Run and print the measurement of real models."""
    from real_pairs import RealPairs

    started = time.perf_counter()
    pairs = RealPairs(given.threads, given.seed)
    print(f"{pairs.machine()}\n\n{load('before')}")
    long = pairs.static()
    long.add_rounds(TRUE_ROUNDS, math.inf)
    true = long.ratio
    fp32, own = long.milliseconds
    print(
        f"Static int8 of a small CNN: {own:.2f} ms against {fp32:.2f} ms for a batch of "
        f"{long.batch}. True speed-up: {true:.3f}, the median of {TRUE_ROUNDS} interleaved "
        f"rounds, whose robust sd is {spread(long.log_ratios):.1%}\n",
        flush=True,
    )
    tally: Tally = defaultdict(list)
    done = 0
    for run in range(given.runs):
        if time.perf_counter() - started > 60 * given.minutes:
            break
        done += 1
        pair = pairs.static()
        for factor in REAL if is_due(run, given.others, given.runs) else REAL[:1]:
            tally[OURS, factor].append(gated(pair, true / factor))
        if is_due(run, given.rivals, given.runs):
            for name, estimate in estimates(lambda _: pairs.static()).items():
                for factor in REAL:
                    tally[name, factor].append(estimate.judged(true / factor))
        if is_due(run, given.own, given.runs):
            pair = pairs.own_copy()
            for limit in (0.9, 1.0):
                tally["FP32", limit].append(gated(pair, limit))
    after = pairs.static()
    after.add_rounds(TRUE_ROUNDS_AFTER, math.inf)
    print(load("after"))
    if done < given.runs:
        print(f"Stopped after {done} of {given.runs} runs, {given.minutes:g} min\n")
    print(
        f"Afterwards the median of {TRUE_ROUNDS_AFTER} rounds of fresh copies was {after.ratio:.3f}"
        f" ({after.ratio / true - 1:+.1%}), with a robust sd of {spread(after.log_ratios):.1%}; in "
        f"the runs with 5 % headroom it was {middle([j.ratio for j in tally[OURS, REAL[0]]])}\n"
    )
    print_errors({"this machine": tally}, REAL)
    print_gates({"this machine": tally}, REAL)
    print("FP32 against its own copy (at 1.0 no verdict is right but INCONCLUSIVE):\n")
    print_gates({"FP32": {(OURS, f): tally["FP32", f] for f in (1.0, 0.9)}}, (1.0, 0.9), "limit")
    print_goals({"this machine": tally}, REAL, caught_in=("this machine",))


def load(when: str) -> str:
    """Who else was busy: the load averages of 1, 5 and 15 minutes."""
    averages = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    return f"Load average {when}: {averages} on {available_cores()} cores\n"


def is_due(run: int, count: int, runs: int) -> bool:
    """Whether this is one of `count` runs that are spread evenly over all."""
    return (run + 1) * count // runs > run * count // runs


if __name__ == "__main__":
    main()
