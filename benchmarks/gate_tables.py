"""The tables of `gate_errors`, in Markdown."""

from statistics import median, quantiles

from gate_methods import BUDGET, OURS, RIVALS, Judged

from pytest_quant.judge.verdict import Outcome

MANY = 1000  # runs, from which on a share is shown in per cent unless it is 0
GOAL_SECONDS = 15.0
GOAL_CAUGHT = 0.95

Tally = dict[tuple[str, float], list[Judged]]  # by method, and true speed-up / limit


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
    print("Goals:\n")
    for noise, tally in tallies.items():
        runs = tally[OURS, factors[0]]
        most = f"; none in {len(runs)} means below {1 - 0.05 ** (1 / len(runs)):.2%} (95 %)"
        failed = sum(judged.outcome is Outcome.FAIL for judged in runs)
        print(
            f"- {noise}, no false FAIL with 5 % headroom: {failed} of {len(runs)}"
            + ("" if failed else most)
        )
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
    high = quantiles(values, n=20, method="inclusive")[18]
    return f"{median(values):.{digits}f} ({high:.{digits}f})"


def spread(values: list[float]) -> float:
    """Robust standard deviation: 1.4826 times the median absolute deviation."""
    centre = median(values)
    return 1.4826 * median(abs(value - centre) for value in values)
