"""Early stopping: the exact verdict on the eval set, often known long before its last sample.

Samples come in a random order, and a bet without replacement watches the total drop (Waudby-Smith
and Ramdas, NeurIPS 2020, arXiv 2006.04347): an early verdict differs from that on the whole set with
probability at most ALPHA, and one that the unseen samples cannot change any more is certain.
"""

from dataclasses import dataclass
from fractions import Fraction
from itertools import count
from typing import Any

import numpy as np

from pytest_quant.errors import QuantStageError
from pytest_quant.judge.betting import DropBet, allowed_total
from pytest_quant.judge.verdict import Outcome
from pytest_quant.measure.overlap import is_called_otherwise, refuse_overlap, refuse_shared
from pytest_quant.subject.metrics import Metric
from pytest_quant.variant.evaluation import BatchScores
from pytest_quant.variant.measurements import EVALUATED_WHOLE
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


def tell_evaluated_whole(variant: Variant) -> None:
    """Note why the data of a gate that might have stopped early was evaluated whole, if it could not."""
    if (why := variant.measured(EVALUATED_WHOLE)) is not None:
        note = f"not stopped early, but evaluated whole: {why}"
        if note not in variant.notes:
            variant.notes.append(note)


def decide_early(variant: Variant, metric: Metric, max_drop: float, relative: bool) -> Early | None:
    """Decide by as few samples as it takes; None where early stopping does not apply.

    It applies to a map-style dataset of at least 2000 samples and to a metric that scores each
    sample within [0, 1] and whose limit is a mean of scores, which a perplexity's is not. Data that
    was evaluated already needs no early stop.

    Raises:
        QuantStageError: when a sample cannot be evaluated, or the two models saw different ones.
    """
    own, fp32 = variant.prefix, variant.fp32.prefix
    if own is None or fp32 is None or not _applies(variant, metric, own.samples):
        return None
    watch: _Watch | None = None
    seen, shared = 0, set[bytes]()
    for index in count():
        a, b = fp32.batch(index), own.batch(index)
        _refuse_other_samples(a, b)
        if index == 0 and is_called_otherwise(variant):
            refuse_overlap(variant, set())
        shared |= variant.tuned_on.intersection(b.inputs)
        refuse_shared(variant, len(shared), seen + len(b.samples))
        seen += len(b.samples)
        if broken := sum(x != y for x, y in zip(a.irregular, b.irregular, strict=True)):
            none = Fraction(0)
            return Early(Outcome.FAIL, none, none, none, seen, own.samples, own.seed, True, broken)
        before, after = a.scores[metric.name], b.scores[metric.name]
        if isinstance(before, float) or isinstance(after, float) or _outside(before, after):
            return None
        if watch is None:
            watch = _Watch.over(own.samples, metric, max_drop, relative, _are_hits(before, after))
        elif watch.hits and not _are_hits(before, after):
            return None
        watch.add(before, after)
        if (outcome := watch.outcome) is not None:
            value, now = watch.before / seen, watch.after / seen
            certain = watch.bet.certain
            drop = watch.sign * (value - now)
            return Early(outcome, drop, value, now, seen, own.samples, own.seed, certain)
    raise AssertionError("the last sample always decides")


@dataclass(slots=True)
class _Watch:
    """The bet on the total drop, and what it has seen.

    Args:
        bet: on the samples' differences.
        sign: 1 where higher is better, else -1.
        weight: of FP32's scores in a difference; below 1 where the limit is a share of them.
        hits: whether scores are 0 and 1, of which the bet then relies.
        before, after: FP32's and the variant's scores so far, in sum.
    """

    bet: DropBet
    sign: int
    weight: Fraction
    hits: bool
    before: Fraction = Fraction(0)
    after: Fraction = Fraction(0)

    @classmethod
    def over(
        cls, samples: int, metric: Metric, max_drop: float, relative: bool, hits: bool
    ) -> "_Watch":
        """At the start, over so many samples."""
        sign, hits = 1 if metric.higher_is_better else -1, hits and not relative
        weight = 1 - sign * Fraction(str(max_drop)) if relative else Fraction(1)
        allowed = Fraction(0) if relative else allowed_total(max_drop, samples)
        return cls(DropBet(samples, allowed, ALPHA, zero_one=hits), sign, weight, hits)

    def add(self, before: Scores, after: Scores) -> None:
        """Bet on the samples of one batch."""
        pairs = list(
            zip(map(Fraction, before.tolist()), map(Fraction, after.tolist()), strict=True)
        )
        self.bet.update([self.sign * (self.weight * x - y) for x, y in pairs])
        self.before += sum(x for x, _ in pairs)
        self.after += sum(y for _, y in pairs)

    @property
    def outcome(self) -> Outcome | None:
        """The verdict, as soon as it is known."""
        if self.bet.passed:
            return Outcome.PASS
        return Outcome.FAIL if self.bet.failed else None


def _applies(variant: Variant, metric: Metric, samples: int) -> bool:
    if variant.measured("evaluation") and variant.fp32.measured("evaluation"):
        return False
    by_sample = not metric.is_accumulator and metric.unit != "perplexity"
    return by_sample and samples >= WORTHWHILE and not variant.is_fp32


def _refuse_other_samples(fp32: BatchScores, own: BatchScores) -> None:
    if fp32.samples != own.samples:
        raise QuantStageError(
            "evaluate",
            "quant_eval_data gives other samples for the same indices on each pass; remove "
            "random augmentation from the eval data.",
        )


def _outside(before: Scores, after: Scores) -> bool:
    """Also where a sample has no score."""
    return not all(bool(((part >= 0) & (part <= 1)).all()) for part in (before, after))


def _are_hits(before: Scores, after: Scores) -> bool:
    return all(bool(((part == 0) | (part == 1)).all()) for part in (before, after))
