"""How often a speed gate is wrong: ours beside three other ways to compare two models.

    python benchmarks/gate_errors.py simulate | tee benchmarks/logs/gate_errors_simulate.txt
    python benchmarks/gate_errors.py real | tee benchmarks/logs/gate_errors_real.txt

`simulate` plants a speed-up of 1.5 on a fake clock with three levels of noise (see `noise`), and
drives the gate's own rounds, sign test and confirmation. `real` times a small CNN and its static
int8 variant on this machine; its "true" speed-up is the median of a long interleaved run, made
before and once more after all others, and each run gets fresh copies of both models.

Limits are set so that the true speed-up is some per cent above them (a FAIL is false) or below (a
PASS is false, and what is not FAIL is missed). "pytest-benchmark" is its own timing class with its
default options, once for each model; its medians or minima are divided. See `gate_methods`.
"""

import argparse
import math
import random
import sys
import time
from collections import defaultdict
from functools import partial
from statistics import median, quantiles

from gate_methods import BUDGET, OURS, RIVALS, Judged, estimates, gated
from noise import NOISES, PROCESS_SPREAD, TRUE_SPEEDUP, Machine, Noise

from pytest_quant.judge.verdict import Outcome
from pytest_quant.measure.rounds import Pair

# The true speed-up as a multiple of the limit: two that should pass, two that should fail.
SIMULATED = (1.05, 1.10, 0.95, 0.90)
REAL = (1.05, 1.10, 1 / 1.05, 1 / 1.10)
TRUE_ROUNDS = 300
TRUE_ROUNDS_AFTER = 150
MANY = 1000  # runs, from which on a share is shown in per cent unless it is 0
GOAL_SECONDS = 15.0
GOAL_CAUGHT = 0.95

Tally = dict[tuple[str, float], list[Judged]]  # by method, and true speed-up / limit


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = options.add_subparsers(dest="kind", required=True)
    simulated = kinds.add_parser("simulate", help="planted speed-ups on a fake clock")
    simulated.add_argument("--runs", type=int, default=400, help="of each noise and limit (400)")
    simulated.add_argument("--seed", type=int, default=20240607)
    real = kinds.add_parser("real", help="an int8 model on this machine")
    real.add_argument("--runs", type=int, default=200, help="with 5 %% headroom (200)")
    real.add_argument("--others", type=int, default=40, help="with each other limit (40)")
    real.add_argument("--rivals", type=int, default=80, help="of the other methods (80)")
    real.add_argument("--own", type=int, default=10, help="of FP32 against its copy (10)")
    real.add_argument("--threads", type=int, help="of PyTorch (the plugin's default)")
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
    print(pairs.machine() + "\n")
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
        for factor in REAL:
            if factor == REAL[0] or is_due(run, given.others, given.runs):
                tally[OURS, factor].append(gated(pairs.static(), true / factor))
        if is_due(run, given.rivals, given.runs):
            for name, estimate in estimates(lambda _: pairs.static()).items():
                for factor in REAL:
                    tally[name, factor].append(estimate.judged(true / factor))
        if is_due(run, given.own, given.runs):
            for limit in (1.0, 0.9):
                tally["FP32", limit].append(gated(pairs.own_copy(), limit))
    after = pairs.static()
    after.add_rounds(TRUE_ROUNDS_AFTER, math.inf)
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


def is_due(run: int, count: int, runs: int) -> bool:
    """Whether this is one of `count` runs that are spread evenly over all."""
    return (run + 1) * count // runs > run * count // runs


def print_errors(tallies: dict[str, Tally], factors: tuple[float, ...]) -> None:
    """The Markdown table of wrong verdicts, a row for each noise and method."""
    above, below = factors[:2], factors[2:]
    heads = [f"false FAIL at {factor:.3g}" for factor in above]
    heads += [f"{what} at {factor:.3g}" for what in ("missed", "false PASS") for factor in below]
    print("Wrong verdicts; the number is true speed-up / limit. Missed is all that is not FAIL\n")
    print_row("noise", "method", *heads, "seconds")
    print_row(*["---"] * (len(heads) + 3))
    for noise, tally in tallies.items():
        for method in (*RIVALS, OURS):
            runs = {factor: tally[method, factor] for factor in factors}
            cells = [share(runs[f], Outcome.FAIL) for f in above]
            cells += [share(runs[f], Outcome.PASS, Outcome.INCONCLUSIVE) for f in below]
            cells += [share(runs[f], Outcome.PASS) for f in below]
            seconds = [judged.seconds for f in factors for judged in runs[f]]
            print_row(noise, method, *cells, middle(seconds))
    print("\nSeconds: median (95th percentile)\n")


def print_gates(
    tallies: dict[str, Tally], factors: tuple[float, ...], head: str = "true / limit"
) -> None:
    """The Markdown table of what our gate said, a row for each noise and limit."""
    print_row(
        "noise", head, *Outcome, "FAIL not confirmed", "rounds", "seconds", "seconds if decided"
    )
    print_row(*["---"] * 9)
    for noise, tally in tallies.items():
        for factor in factors:
            runs = tally[OURS, factor]
            unsure = [j for j in runs if j.outcome is Outcome.INCONCLUSIVE]
            print_row(
                noise,
                f"{factor:.3f}",
                *(share(runs, outcome) for outcome in Outcome),
                str(sum(judged.confirmed is not None for judged in unsure)),
                middle([judged.rounds for judged in runs], 0),
                middle([judged.seconds for judged in runs]),
                middle([j.seconds for j in runs if j.outcome is not Outcome.INCONCLUSIVE]),
            )
    print()


def print_goals(
    tallies: dict[str, Tally], factors: tuple[float, ...], caught_in: tuple[str, ...]
) -> None:
    """What was aimed at, and what came out."""
    for noise, tally in tallies.items():
        failed = share(tally[OURS, factors[0]], Outcome.FAIL)
        print(f"- {noise}, no false FAIL with 5 % headroom: {failed}")
        caught = tally[OURS, factors[3]]
        if noise in caught_in:
            print(
                f"- {noise}, {GOAL_CAUGHT:.0%} of those at {factors[3]:.3g} of the limit caught: "
                f"{share(caught, Outcome.FAIL)}"
            )
        decided = [
            judged.seconds
            for factor in factors
            for judged in tally[OURS, factor]
            if judged.outcome is not Outcome.INCONCLUSIVE
        ]
        late = sum(seconds > GOAL_SECONDS for seconds in decided)
        print(
            f"- {noise}, a decided gate within {GOAL_SECONDS:.0f} s: {late} of {len(decided)} took "
            f"longer, at most {max(decided, default=0):.1f} s (budget {BUDGET:.0f} s each time)"
        )


def print_row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def share(runs: list[Judged], *outcomes: Outcome) -> str:
    """How many of the runs came to one of these: a count if they are few, else per cent."""
    count, n = sum(judged.outcome in outcomes for judged in runs), len(runs)
    return f"{count / n:.1%}" if count and n >= MANY else f"{count} of {n}"


def middle(values: list[float], digits: int = 1) -> str:
    """Median and 95th percentile."""
    if len(values) < 2:
        return "-"
    return f"{median(values):.{digits}f} ({quantiles(values, n=20)[18]:.{digits}f})"


def spread(values: list[float]) -> float:
    """Robust standard deviation: 1.4826 times the median absolute deviation."""
    centre = median(values)
    return 1.4826 * median(abs(value - centre) for value in values)


if __name__ == "__main__":
    main()
