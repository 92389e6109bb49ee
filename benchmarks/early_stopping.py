"""How many samples early stopping saves, and how often its verdict is wrong.

    python benchmarks/early_stopping.py | tee benchmarks/logs/early_stopping.txt

Each run shuffles a made-up evaluation set with a known drop d and disagreement rate psi, and feeds
the differences to `pytest_quant.judge.betting.DropBet` in batches until it says PASS or FAIL. The
first table asks for "drop <= 1 pt" at the default alpha of 1e-3, as in a real gate. The second
puts the drop exactly on the limit, or one sample beyond, where a verdict is wrong most easily;
there the share of wrong early verdicts must stay below alpha.
"""

import argparse
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_quant.judge.betting import DropBet, allowed_total

MARGIN = 0.01
# Disagreement rate and true drop in percent; the drop cannot exceed the disagreement.
CASES = (
    (1, 0), (1, 0.2), (1, 0.5),
    (3, 0), (3, 0.2), (3, 0.5),
    (5, 0), (5, 0.2), (5, 0.5),
    (2, 2), (3, 2), (5, 2), (5, 5),
)  # fmt: skip
BOUNDARY_SAMPLES = 5000
BOUNDARY_DISAGREEMENTS = (1, 3, 5)
BOUNDARY_ALPHAS = (0.05, 0.01)


@dataclass(frozen=True, slots=True)
class Tally:
    """What a number of runs of one case came to."""

    seen: NDArray[np.int64]  # samples evaluated until the verdict
    certain: NDArray[np.int64]  # samples until the unseen ones could not change the verdict
    wrong: int


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--runs", type=int, default=120, help="runs of each case (120)")
    options.add_argument("--boundary-runs", type=int, default=600, help="at the boundary (600)")
    options.add_argument("--sizes", type=int, nargs="+", default=[10_000, 50_000], metavar="N")
    options.add_argument("--batch", type=int, default=32, help="samples a batch (32)")
    options.add_argument("--alpha", type=float, default=1e-3, help="of the first table (1e-3)")
    options.add_argument("--seed", type=int, default=20240607)
    given = options.parse_args()
    started = time.perf_counter()
    rng = np.random.default_rng(given.seed)
    print(
        f"Samples until the verdict on drop <= {MARGIN:.0%}, alpha = {given.alpha:g}, batches of "
        f"{given.batch}, {given.runs} runs a case, seed {given.seed}: median (95th percentile)\n"
    )
    print_savings(given.sizes, given.runs, given.batch, given.alpha, rng)
    print(
        f"\nWrong early verdicts with the drop at the limit, N = {BOUNDARY_SAMPLES}, "
        f"{given.boundary_runs} runs a case\n"
    )
    print_errors(given.boundary_runs, given.batch, rng)
    print(f"\n{time.perf_counter() - started:.0f} s in all")


def print_savings(
    sizes: list[int], runs: int, batch: int, alpha: float, rng: np.random.Generator
) -> None:
    """The Markdown table of samples needed, one row a case."""
    heads = "".join(f" N={n} | share | certainty alone |" for n in sizes)
    print(
        f"| psi | true d | verdict |{heads} wrong |\n|---|---|---|{'---|---|---|' * len(sizes)}---|"
    )
    wrong_in_all = 0
    for psi, drop in CASES:
        cells, wrong = "", 0
        for n in sizes:
            excess = round(drop / 100 * n)
            tally = play(n, psi / 100, excess, runs, batch, alpha, rng)
            median, high = np.percentile(tally.seen, [50, 95])
            cells += f" {median:.0f} ({high:.0f}) | {median / n:.1%} |"
            cells += f" {np.median(tally.certain):.0f} |"
            wrong += tally.wrong
        verdict = "PASS" if drop / 100 <= MARGIN else "FAIL"
        print(
            f"| {psi} % | {drop} pt | {verdict} |{cells} {wrong} of {runs * len(sizes)} |",
            flush=True,
        )
        wrong_in_all += wrong
    print(f"\nWrong verdicts in all: {wrong_in_all} of {runs * len(sizes) * len(CASES)} runs")


def print_errors(runs: int, batch: int, rng: np.random.Generator) -> None:
    """The Markdown table of wrong verdicts where the limit is met or missed by one sample."""
    limit = int(allowed_total(MARGIN, BOUNDARY_SAMPLES))
    print("| psi | alpha | wrong PASS (limit + 1) | wrong FAIL (at the limit) |\n|---|---|---|---|")
    for psi in BOUNDARY_DISAGREEMENTS:
        for alpha in BOUNDARY_ALPHAS:
            shares = [
                play(BOUNDARY_SAMPLES, psi / 100, excess, runs, batch, alpha, rng).wrong / runs
                for excess in (limit + 1, limit)
            ]
            print(f"| {psi} % | {alpha:.0%} | {shares[0]:.2%} | {shares[1]:.2%} |", flush=True)


def play(
    n: int, psi: float, excess: int, runs: int, batch: int, alpha: float, rng: np.random.Generator
) -> Tally:
    """Shuffle a set with that many more losses than gains, and bet until there is a verdict."""
    disagreements = max(round(psi * n), abs(excess))
    disagreements += (disagreements - excess) % 2
    differences = np.zeros(n, dtype=np.int64)
    losses = (disagreements + excess) // 2
    differences[:losses], differences[losses:disagreements] = 1, -1
    allowed = allowed_total(MARGIN, n)
    seen, certain, wrong = [], [], 0
    for _ in range(runs):
        shuffled = rng.permutation(differences)
        bet = DropBet(n, allowed, alpha, zero_one=True)
        for start in range(0, n, batch):
            bet.update(shuffled[start : start + batch])
            if bet.passed or bet.failed:
                break
        seen.append(bet.seen)
        certain.append(until_certain(shuffled, int(allowed)))
        wrong += bet.passed != (excess <= allowed)
    return Tally(np.array(seen), np.array(certain), wrong)


def until_certain(differences: NDArray[np.int64], allowed: int) -> int:
    """After how many samples the rest, each 1 or -1 at worst, could not change the verdict."""
    total = np.cumsum(differences)
    unseen = np.arange(len(differences) - 1, -1, -1)
    known = (total + unseen <= allowed) | (total - unseen > allowed)
    return int(np.argmax(known)) + 1


if __name__ == "__main__":
    main()
