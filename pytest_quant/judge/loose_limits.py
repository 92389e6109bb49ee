"""Loose limits: a little looser than what was measured of a variant, to start a repo's tests with."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_quant.errors import QuantStageError
from pytest_quant.judge.accuracy_drop import DROP, judge_drop, metric_named
from pytest_quant.judge.gates import judged
from pytest_quant.judge.size_limit import RATIO, judge_size
from pytest_quant.judge.speedup import shown_interval
from pytest_quant.judge.verdict import Outcome
from pytest_quant.variant.variant import Variant

SPEED = "min_speedup"
SPARE = {
    "fraction": 0.005,
    "perplexity": 0.01,
    "raw": 0.05,
}  # on top of a drop; raw: of FP32's value
MOST_SPARE = 0.05  # however few the samples are
MOST_LOST = {"fraction": 0.05, "perplexity": 0.1, "raw": 0.2}  # as SPARE; more is no start
SPARE_SIZE = 1.03
SPARE_SPEED = 0.9  # of the lower end of what was timed


@dataclass(frozen=True, slots=True)
class LooseLimits:
    """What a first test of a variant can state.

    Args:
        limits: by name, as `assert_gates` takes them; each holds now.
        measured: what was seen of each of them, for a person.
        unstated: why a quantity has no limit, for a person.
        objection: why there should be no test of it as it is; None where there may.
    """

    limits: Mapping[str, float]
    measured: Mapping[str, str]
    unstated: tuple[str, ...] = ()
    objection: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "limits": dict(self.limits),
            "measured": dict(self.measured),
            "unstated": list(self.unstated),
            "objection": self.objection,
        }


def loose_limits(variant: Variant, stated: Mapping[str, float]) -> LooseLimits:
    """Limits for a variant of which all has been measured; nothing is recorded as judged.

    Args:
        variant: evaluated, and timed beside FP32.
        stated: the limits that the repo states already, which are judged and not named again.
    """
    limits: dict[str, float] = {}
    measured: dict[str, str] = {}
    unstated: list[str] = []
    for name, limit, what in _found(variant):
        if limit is None:
            unstated.append(what)
        else:
            limits[name], measured[name] = limit, what
    objection = _objection(variant, stated)
    if objection is None and not {RATIO, SPEED} & {*limits}:
        objection = "it is neither smaller nor faster than FP32 here"
    left = {name: limit for name, limit in limits.items() if name not in stated}
    return LooseLimits(left, measured, tuple(unstated), objection)


def _found(variant: Variant) -> Iterator[tuple[str, float | None, str]]:
    """Of each quantity the limit, or None where it is worth none, and what was measured."""
    drop = judge_drop(variant, 0.0).observed
    if drop is not None:
        limit = _up(max(0.0, drop) + _spare(variant), 3)
        yield DROP, limit, f"{_change(variant, drop)} now"
    ratio = judge_size(variant, ratio=1.0).observed
    if ratio is not None:
        limit = _up(ratio * SPARE_SIZE, 2)
        yield RATIO, limit if limit < 1 else None, f"{ratio:.3f} of FP32's size"
    pair = variant.measured("pair given")
    if pair is not None and pair.seconds_a:
        ends = shown_interval(pair)
        low = min(ends[0], pair.ratio) if ends else pair.ratio
        limit = math.floor(100 * SPARE_SPEED * low) / 100
        shown = f" [{ends[0]:.2f}, {ends[1]:.2f}]" if ends else ""
        yield SPEED, limit if limit >= 1 else None, f"{pair.ratio:.2f}x{shown} as fast as FP32"


def _objection(variant: Variant, stated: Mapping[str, float]) -> str | None:
    drop = judge_drop(variant, 0.0)
    if drop.observed is None:  # refused, whatever the limit
        return drop.clause
    if drop.observed > _share(variant, MOST_LOST):
        return f"it loses {_change(variant, drop.observed)}, which is much"
    for name, limit in stated.items():
        pair = variant.measured("pair given")
        if name == SPEED:
            if pair is not None and pair.seconds_a and pair.ratio < limit:
                return f"it is {pair.ratio:.2f}x as fast as FP32, and {limit:g}x are required"
            continue
        try:
            verdict = judged(variant, name, limit)
        except QuantStageError as error:
            return str(error)
        if verdict.outcome is Outcome.FAIL:
            return verdict.clause
    return None


def _change(variant: Variant, drop: float) -> str:
    metric = metric_named(variant, None)
    # a perplexity's is observed as a share, and shown from its logarithm
    amount = math.log1p(drop) if metric.unit == "perplexity" else drop
    return f"{metric.shown_change(amount)} of {metric.name}"


def _spare(variant: Variant) -> float:
    """What a limit leaves on top of a drop; two samples at least."""
    if metric_named(variant, None).unit != "fraction":
        return _share(variant, SPARE)
    return min(MOST_SPARE, max(SPARE["fraction"], 2 / len(variant.evaluation)))


def _share(variant: Variant, shares: Mapping[str, float]) -> float:
    metric = metric_named(variant, None)
    share = shares[metric.unit or "fraction"]
    if metric.unit != "raw":
        return share
    return share * (abs(float(variant.fp32.evaluation.values[metric.name])) or 1.0)


def _up(value: float, digits: int) -> float:
    """Rounded up to so many decimals; a value that these cannot tell, to so many significant digits."""
    if 0 < value < 10**-digits or value >= 10**digits:
        digits -= 1 + math.floor(math.log10(value))
    step = 10.0**digits
    return round(math.ceil(value * step - 1e-9) / step, max(0, digits))
