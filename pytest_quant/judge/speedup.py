"""Speed-up: a sequential sign test on rounds that time FP32 and the variant side by side.

Each round says whether the variant beat the required ratio. If it is exactly at the ratio, this is
a fair coin, whatever the noise of the machine looks like, since both models had equal time in a
random order; so the test needs no distribution and may stop after any round. Neither the guard
band nor the confirmation comes from the test: they cover what is equal in all rounds of a process
(where memory happened to be placed; 1 to 2 %).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.judge.honesty import refusal, why_refused
from pytest_quant.judge.limits import check_alpha
from pytest_quant.judge.merit import tell_merit_of_runtime
from pytest_quant.judge.sign_test import fewest_rounds, is_proven, median_interval
from pytest_quant.judge.speed_cell import quantity_at
from pytest_quant.judge.verdict import Outcome, Verdict
from pytest_quant.machine.cell import Cell
from pytest_quant.variant.rounds import Pair
from pytest_quant.variant.variant import Variant

GATE = "min_speedup"
BASELINES = ("given", "best", "runtime")
ALPHA = 1e-3
GUARD = 0.03  # of the log ratio; a process moved the ratio by up to 1.6 %, so a FAIL needs more
MOST_ROUNDS = 300  # more rounds narrow the interval by little
LEAST_BUDGET_ROUNDS = 15  # a slow model gets these, as long as they fit into MOST_SECONDS
MOST_SECONDS = 300.0
MARGINAL_ROUNDS = 60  # from here on a median known to lie this close to the limit ends the test
MARGINAL = (-0.03, 0.02)
OVERTIME = 0.1  # of a budget, that its last round may take without a word
SHOWN_ALPHA = 0.025  # per side, of the interval that people see
NEAR = 0.02  # of a speed-up, within which another process would find it


@dataclass(frozen=True, slots=True)
class Timing:
    """What a sequence of rounds showed.

    Args:
        outcome: of the sign test at the required ratio.
        why: for INCONCLUSIVE, the reason.
        rounds, seconds: what it took.
    """

    outcome: Outcome
    why: str
    rounds: int
    seconds: float


def judge_speedup(
    variant: Variant,
    min_speedup: float,
    *,
    baseline: str = "given",
    alpha: float = ALPHA,
    budget: float = 30.0,
    cell: Cell | None = None,
) -> Verdict:
    """Whether the variant is at least `min_speedup` times as fast as FP32.

    PASS: the median ratio is proven to be at least min_speedup. FAIL: it is proven to be lower by
    more than 3 %, and was so again on re-made copies of both models. Otherwise INCONCLUSIVE. Each
    proof is wrong with probability `alpha` at most (Ville's inequality; see `sign_test`).

    Args:
        variant: the one to judge; FP32 itself is timed against its own copy.
        min_speedup: t_FP32 / t_variant, for one call on the same inputs.
        baseline: ``given``: FP32 as the user gave it; ``best``: the fastest of as given and
            channels_last; ``runtime``: of a file, FP32 in the runtime that runs it.
        alpha: error probability of the gate.
        budget: seconds; 15 rounds are made in any case, if they take at most 300 s, and a FAIL is
            confirmed. The sentence says why where that takes longer.
        cell: threads and samples in one call; None for those of the variant's conditions.

    Raises:
        ValueError: for another baseline, or an alpha outside (0, 0.05].
        QuantStageError: when a model cannot be timed.
    """
    if baseline not in BASELINES:
        raise ValueError(f"baseline is {baseline!r}; allowed: {', '.join(map(repr, BASELINES))}")
    alpha = check_alpha(alpha)
    if reason := why_refused(variant):
        return refusal(GATE, quantity_at(cell), variant, min_speedup, reason)
    pair = variant.pair(baseline, cell)
    timing, confirmed = decide_and_confirm(pair, min_speedup, alpha, budget)
    spent = timing.seconds + (confirmed.seconds if confirmed else 0.0)
    if cell is None and not variant.is_fp32 and spent < budget:
        _ = variant.fp32.format_gain  # so that the report can show the ratio to the best FP32 too
    if baseline == "given" and cell is None and timing.outcome is Outcome.PASS:
        tell_merit_of_runtime(variant, min_speedup)
    return _verdict(variant, pair, min_speedup, alpha, timing, confirmed, budget, cell)


def decide_and_confirm(
    pair: Pair, min_speedup: float, alpha: float, budget: float
) -> tuple[Timing, Timing | None]:
    """`decide`, and after a FAIL once more on re-made copies; both have to fail for a FAIL.

    Returns:
        The decision, and what the re-made copies showed; None where they were not needed.

    Raises:
        QuantStageError: when the models cannot be made again.
    """
    with pair.hold():
        timing = decide(pair, min_speedup, alpha, budget)
    if timing.outcome is not Outcome.FAIL:
        return timing, None
    confirmed = _again(pair, min_speedup, alpha, budget)
    if confirmed.outcome is not Outcome.FAIL:
        why = "it failed, but not again on re-made copies of both models"
        timing = Timing(Outcome.INCONCLUSIVE, why, timing.rounds, timing.seconds)
    return timing, confirmed


def decide(pair: Pair, min_speedup: float, alpha: float, budget: float) -> Timing:
    """Add rounds until the sign test decides or the budget is spent; rounds already there count."""
    theta = math.log(min_speedup)
    wins = losses = 0
    least = fewest_rounds(alpha)
    values: list[float] = []
    for log_ratio in _rounds(pair):
        value = log_ratio - theta
        values.append(value)
        n = len(values)
        wins += value > 0
        losses += value < -GUARD
        if is_proven(n, wins, alpha):
            return Timing(Outcome.PASS, "", n, pair.spent)
        if is_proven(n, losses, alpha):
            return Timing(Outcome.FAIL, "", n, pair.spent)
        if n >= MARGINAL_ROUNDS and _is_marginal(values, alpha):
            why = f"it is too close to {min_speedup:g}x to tell; leave 5 % of headroom"
            return Timing(Outcome.INCONCLUSIVE, why, n, pair.spent)
        if n >= MOST_ROUNDS:
            why = f"{n} rounds did not decide; leave 5 % of headroom"
            return Timing(Outcome.INCONCLUSIVE, why, n, pair.spent)
        if n >= len(pair.seconds_a) and _is_over(pair, n, budget, least):
            return Timing(Outcome.INCONCLUSIVE, _needs(pair, values, alpha), n, pair.spent)
    raise AssertionError("rounds never end by themselves")


def shown_interval(pair: Pair) -> tuple[float, float] | None:
    """The 95 % interval of the median speed-up, valid at whatever round one stopped."""
    interval = median_interval(pair.log_ratios, SHOWN_ALPHA)
    return None if interval is None else (math.exp(interval[0]), math.exp(interval[1]))


def is_well_known(pair: Pair) -> bool:
    """Whether the 95 % interval lies within 2 % of the speed-up, so that more rounds would tell no more.

    For what is shown, never for a gate. It may be asked after every round, as the interval is valid at
    whatever round one stops; 8 are the fewest.
    """
    interval = shown_interval(pair)
    return interval is not None and (
        max(pair.ratio / interval[0], interval[1] / pair.ratio) <= 1 + NEAR
    )


def _rounds(pair: Pair) -> Iterator[float]:
    """The log ratio of each round, those of earlier gates first, then fresh ones without end."""
    index = 0
    while True:
        if index >= len(pair.seconds_a):
            pair.add_round()
        yield math.log(pair.seconds_a[index] / pair.seconds_b[index])
        index += 1


def _is_over(pair: Pair, n: int, budget: float, least: int) -> bool:
    each = pair.spent / n
    most = min(max(budget, LEAST_BUDGET_ROUNDS * each), MOST_SECONDS)
    return pair.spent >= most or (n < least and pair.spent + each > MOST_SECONDS)


def _is_marginal(values: list[float], alpha: float) -> bool:
    interval = median_interval(values, alpha)
    return interval is not None and MARGINAL[0] <= interval[0] and interval[1] <= MARGINAL[1]


def _needs(pair: Pair, values: list[float], alpha: float) -> str:
    """How long it would take to decide, from the share of rounds on the likelier side."""
    n = len(values)
    heads = max(sum(v > 0 for v in values), sum(v < -GUARD for v in values)) / n
    spent = f"{n} rounds in {pair.spent:.0f} s did not decide"
    if heads <= 0.55:
        return f"{spent}, nor would many more; leave 5 % of headroom"
    tails = 1 - heads
    rate = math.log(2) + heads * math.log(heads) + (tails * math.log(tails) if tails else 0)
    rounds = max(1.1 * (math.log(1 / alpha) + math.log(n + 1)) / rate, n + 1)
    seconds = rounds * pair.spent / n
    return (
        f"{spent}; about {seconds:.0f} s would (--quant-timing-seconds), or leave 5 % of headroom"
    )


def _again(pair: Pair, min_speedup: float, alpha: float, budget: float) -> Timing:
    try:
        fresh = pair.remade()
        with fresh.hold():
            return decide(fresh, min_speedup, alpha, budget)
    except Exception as error:
        if isinstance(error, QuantStageError):
            raise
        raise QuantStageError(
            "time", f"the models could not be re-made to confirm a failure: {in_brief(error)}"
        ) from error


def _verdict(
    variant: Variant,
    pair: Pair,
    min_speedup: float,
    alpha: float,
    timing: Timing,
    confirmed: Timing | None,
    budget: float,
    cell: Cell | None,
) -> Verdict:
    fp32_ms, own_ms = pair.milliseconds
    interval = shown_interval(pair)
    span = f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else ""
    sentence = (
        f"{variant.name} is {pair.ratio:.2f}x{span} as fast as "
        f"{pair.baseline} ({own_ms:.2f} ms against {fp32_ms:.2f} ms for a batch of {pair.batch}), "
        f"required {min_speedup:g}x"
    )
    if alpha != ALPHA:
        sentence += f", alpha {alpha:g}"
    if timing.outcome is Outcome.INCONCLUSIVE:
        sentence += f"; {timing.why}"
    if why := _why_so_long(timing, confirmed, alpha, budget):
        sentence += f"; {why}"
    evidence: dict[str, Any] = {
        "rounds": timing.rounds,
        "seconds": timing.seconds,
        "alpha": alpha,
        "baseline": pair.baseline,
        "interval_95": list(interval) if interval else None,
        "ms": own_ms,
        "fp32_ms": fp32_ms,
        "batch": pair.batch,
        "threads": variant.conditions.threads if cell is None else cell.threads,
        "confirmed": None if confirmed is None else str(confirmed.outcome),
        "round_spread": _spread(pair.log_ratios),
    }
    return Verdict.on(
        variant,
        GATE,
        quantity_at(cell),
        timing.outcome,
        sentence,
        limit=min_speedup,
        observed=pair.ratio,
        evidence=evidence,
    )


def _why_so_long(
    timing: Timing, confirmed: Timing | None, alpha: float, budget: float
) -> str | None:
    """Why timing took longer than its budget; None where it did not, or where a last round has done it."""
    spent = timing.seconds + (confirmed.seconds if confirmed else 0.0)
    if spent <= (1 + OVERTIME) * budget:
        return None
    reasons = []
    if timing.seconds > (1 + OVERTIME) * budget:
        reasons.append(f"a round took {timing.seconds / timing.rounds:.2g} s, and it takes "
                       f"{fewest_rounds(alpha)} of them to decide")  # fmt: skip
    if confirmed is not None:
        reasons.append("a failure is confirmed on re-made copies")
    return f"the budget of {budget:g} s was exceeded ({spent:.0f} s), since {' and '.join(reasons)}"


def _spread(values: list[float]) -> float:
    """Robust standard deviation of the log ratios: 1.4826 times the median absolute deviation."""
    centre = median(values)
    return 1.4826 * median(abs(value - centre) for value in values)
