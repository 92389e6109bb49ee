"""Early stopping: the exact verdict on the eval set, often known long before its last sample.

Samples come in a random order, and a bet without replacement watches the total drop (Waudby-Smith
and Ramdas, NeurIPS 2020, arXiv 2006.04347): an early verdict differs from that on the whole set with
probability at most ALPHA, and one that the unseen samples cannot change any more is certain.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from pytest_quant.errors import QuantStageError
from pytest_quant.judge.betting import DropBet, allowed_total
from pytest_quant.judge.verdict import Outcome
from pytest_quant.measure.accuracy import refuse_overlap
from pytest_quant.subject.metrics import Metric
from pytest_quant.variant.variant import Variant

ALPHA = 1e-3
Scores = np.ndarray[Any, Any]
WORTHWHILE = 2000  # samples; a smaller set is evaluated whole, since little would be saved


@dataclass(frozen=True, slots=True)
class Early:
    """A verdict on the whole set from a part of it.

    Args:
        outcome: PASS or FAIL.
        drop: mean over the samples seen.
        before, after: the metric of FP32 and of the variant on the samples seen.
        seen, samples: how many of how many.
        certain: whether the unseen samples could change it.
        broken: samples with outputs that are not finite where FP32's are; then nothing else counts.
    """

    outcome: Outcome
    drop: Fraction
    before: Fraction
    after: Fraction
    seen: int
    samples: int
    seed: int
    certain: bool
    broken: int = 0


def decide_early(variant: Variant, metric: Metric, max_drop: float, relative: bool) -> Early | None:
    """Decide by as few samples as it takes; None where early stopping does not apply.

    It applies to a map-style dataset of at least 2000 samples and to a metric that scores each
    sample within [0, 1] and whose limit is a mean of scores, which a perplexity's is not. Data that
    was evaluated already needs no early stop.

    Raises:
        QuantStageError: when a sample cannot be evaluated, or the two models saw different ones.
    """
    done = variant.measured("evaluation"), variant.fp32.measured("evaluation")
    own, fp32 = variant.prefix, variant.fp32.prefix
    if own is None or fp32 is None or metric.is_accumulator or all(done):
        return None
    if own.samples < WORTHWHILE or variant.is_fp32 or metric.unit == "perplexity":
        return None
    margin, sign = Fraction(str(max_drop)), 1 if metric.higher_is_better else -1
    bet: DropBet | None = None
    total_before = total_after = Fraction(0)
    seen, index, inputs, hits = 0, 0, set[bytes](), False
    while seen < own.samples:
        a, b = fp32.batch(index), own.batch(index)
        if a.samples != b.samples:
            raise QuantStageError(
                "evaluate",
                "quant_eval_data gives other samples for the same indices on each pass; remove "
                "random augmentation from the eval data.",
            )
        index += 1
        inputs |= variant.tuned_on.intersection(b.inputs)
        refuse_overlap(variant, inputs)
        broken = sum(x != y for x, y in zip(a.irregular, b.irregular, strict=True))
        if broken:
            none = Fraction(0)
            seen += len(b.samples)
            return Early(Outcome.FAIL, none, none, none, seen, own.samples, own.seed, True, broken)
        before, after = a.scores[metric.name], b.scores[metric.name]
        if isinstance(before, float) or isinstance(after, float) or _outside(before, after):
            return None
        if bet is None:
            hits = not relative and _are_hits(before, after)
            allowed = Fraction(0) if relative else allowed_total(max_drop, own.samples)
            bet = DropBet(own.samples, allowed, ALPHA, zero_one=hits)
        elif hits and not _are_hits(before, after):
            return None
        pairs = list(
            zip(map(Fraction, before.tolist()), map(Fraction, after.tolist()), strict=True)
        )
        weight = 1 - sign * margin if relative else Fraction(1)
        bet.update([sign * (weight * x - y) for x, y in pairs])
        seen += len(pairs)
        total_before += sum(x for x, _ in pairs)
        total_after += sum(y for _, y in pairs)
        if bet.passed or bet.failed:
            value, now = total_before / seen, total_after / seen
            outcome = Outcome.PASS if bet.passed else Outcome.FAIL
            drop = sign * (value - now)
            return Early(outcome, drop, value, now, seen, own.samples, own.seed, bet.certain)
    raise AssertionError("the last sample always decides")


def _outside(before: Scores, after: Scores) -> bool:
    return any(bool(((part < 0) | (part > 1)).any()) for part in (before, after))


def _are_hits(before: Scores, after: Scores) -> bool:
    return all(bool(((part == 0) | (part == 1)).all()) for part in (before, after))
