"""Uneven: which slices lose, and which lose more than the rest of the eval set by more than chance."""

from dataclasses import dataclass

import numpy as np

from pytest_quant.judge.exact_tails import drawn_tail, holm, sign_tail
from pytest_quant.judge.slice_drop import MIN_SAMPLES, counts_of, named_slice
from pytest_quant.subject.metrics import Metric
from pytest_quant.variant.evaluation import has_flips
from pytest_quant.variant.slices import Slice, Sliced, sliced
from pytest_quant.variant.variant import Variant

CHANCE = 1e-3  # that a note is wrong, of all slices of a variant
MORE = 0.02  # by how much a slice drops more than all samples, to be worth a note
MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Tested:
    """Slices, and how likely chance alone takes from each what it lost.

    Args:
        sliced: all slices.
        worst_first: each with its p-value (sign test, Holm), None of slices that are too small for a
            test, which come last; that drops most first.
    """

    sliced: Sliced
    worst_first: tuple[tuple[Slice, float | None], ...]


def tested(variant: Variant, metric: Metric) -> Tested | None:
    """The slices of an evaluated variant; None where there are none, or where scores are no numbers."""
    return variant.once(f"slices by {metric.name}", lambda: _tested(variant, metric))


def _tested(variant: Variant, metric: Metric) -> Tested | None:
    own, fp32 = variant.evaluation, variant.fp32.evaluation
    found = sliced(own, fp32, metric)
    if found is None or not found.parts or not np.isfinite(found.drop):
        return None
    large = [part for part in found.parts if len(part) >= MIN_SAMPLES]
    small = [part for part in found.parts if len(part) < MIN_SAMPLES]
    chances = holm([sign_tail(part.lost, part.won) for part in large])
    pairs = sorted(zip(large, chances, strict=True), key=lambda pair: (-pair[0].drop, pair[1]))
    rest = sorted(small, key=lambda part: -part.drop)
    return Tested(found, (*pairs, *((part, None) for part in rest)))


def uneven(variant: Variant) -> str | None:
    """A note on slices that lose far more than the eval set as a whole; None where none does.

    Two questions are asked of each slice, so that neither a loss that all share nor a slice on which much
    flips either way is taken for one: does it lose at all (sign test), and would as many of its samples
    be among those that got worse if these were spread over the eval set by chance (Fisher's exact test).
    Both with Holm's correction.
    """
    metric = variant.admitted.metrics[0]
    if variant.is_fp32 or metric.unit != "fraction" or not has_flips(metric):
        return None
    found = tested(variant, metric)
    if found is None or len(found.sliced.parts) < 2:
        return None
    whole = found.sliced
    large = [(part, chance) for part, chance in found.worst_first if chance is not None]
    spread = holm(
        [
            drawn_tail(part.lost, len(part), whole.lost, whole.samples) if chance <= CHANCE else 1.0
            for part, chance in large
        ]
    )
    told = [
        part
        for (part, chance), other in zip(large, spread, strict=True)
        if chance <= CHANCE and other <= CHANCE and part.drop >= whole.drop + MORE
    ]
    if not told:
        return None
    worst = ", ".join(
        f"{named_slice(part.name, whole.by)} by {metric.shown_amount(part.drop)} "
        f"({counts_of(part, metric)})"
        for part in told[:MOST_NAMED]
    )
    more = f" and {len(told) - MOST_NAMED} more" if len(told) > MOST_NAMED else ""
    return (
        f"loses far more on some slices than chance explains: {worst}{more}, where all samples "
        f"{'drop' if whole.drop >= 0 else 'rise'} {metric.shown_amount(whole.drop)}; "
        "assert_max_slice_drop(variant, 0.05) gates each slice"
    )
