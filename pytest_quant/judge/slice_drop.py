"""Slice drop: whether every slice of the eval set keeps its metric, without taking chance for a loss.

A limit on each of a hundred slices is a machine for false alarms: where 2 % of the samples flip each way
and nothing is lost, some slice of 100 samples drops more than five points in three runs of ten, by chance
(benchmarks/slices.py). Hence a slice of the eval set FAILs only where its observed drop is over the limit
and an exact paired test tells it from no loss, corrected for the number of slices.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import log1p
from typing import Any

import numpy as np

from pytest_quant.errors import QuantStageError, listed
from pytest_quant.judge.accuracy_drop import SCOPES, check_drop_limit, metric_named
from pytest_quant.judge.exact_mean import exact_mean
from pytest_quant.judge.exact_tails import holm, shown_chance, sign_tail
from pytest_quant.judge.honesty import broken_outputs, impossible_score, refusal, why_refused
from pytest_quant.judge.limits import check_alpha
from pytest_quant.judge.slice_population import bound_slices
from pytest_quant.judge.verdict import Outcome, Verdict
from pytest_quant.subject.metrics import Metric
from pytest_quant.subject.perplexity import rise_of
from pytest_quant.variant.slices import BY_NAME, Slice, Sliced, sliced
from pytest_quant.variant.variant import Variant

GATE, QUANTITY = "max_slice_drop", "slice drop"
MIN_SAMPLES = 30  # fewer show no drop of a few points: one sample is more than three
MOST_NAME, MOST_NAMES = 60, 4  # characters of a name, slices in a sentence
MOST_KEPT = 24  # names in the evidence


def judge_slices(
    variant: Variant,
    max_drop: float,
    *,
    min_samples: int = MIN_SAMPLES,
    metric: str | None = None,
    scope: str = "dataset",
    alpha: float = 0.01,
) -> Verdict:
    """Whether no slice's metric drops from FP32's by more than `max_drop`.

    In scope ``dataset`` a slice FAILs whose drop on its samples, an exact number, is over the limit, and
    of which the one-sided sign test on its samples that score differently (McNemar's exact test where
    scores are right or wrong) refutes "it loses nothing" at `alpha`, with Holm's correction over all
    slices of at least `min_samples`. In scope ``population`` see `bound_slices`.

    Sources: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6 (1979) 65-70; McNemar, Psychometrika 12 (1947) 153-157; for the sign test, which takes
    no distribution for granted, Dixon and Mood, JASA 41 (1946) 557-566.

    Args:
        variant: the one to judge.
        max_drop: in the metric's unit, below 1 for one in fractions.
        min_samples: of a slice that is judged; smaller ones are told.
        metric: which of several; default the first.
        scope: ``dataset``, the eval set itself, or ``population``.
        alpha: probability that any slice FAILs by chance alone.

    Raises:
        QuantStageError: there are no slices, or the metric does not score each sample.
        TypeError, ValueError: a wrong argument; says what is allowed.
    """
    chosen = metric_named(variant, metric)
    check_drop_limit(chosen, max_drop, "max_slice_drop")
    _check_min_samples(min_samples)
    alpha = check_alpha(alpha)
    if scope not in SCOPES:
        raise ValueError(f"scope is {scope!r}; allowed: {', '.join(SCOPES)}")
    reason = why_refused(variant) or broken_outputs(variant) or impossible_score(variant, chosen)
    if reason:
        return refusal(GATE, QUANTITY, variant, max_drop, reason, chosen.name)
    found = _slices_of(variant, chosen)
    asked = _Asked(variant, chosen, max_drop, found, min_samples, scope, alpha)
    if not asked.judged:
        return asked.undecided()
    return _on_the_set(asked) if scope == "dataset" else _in_the_population(asked)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the gate was asked."""

    variant: Variant
    metric: Metric
    max_drop: float
    found: Sliced
    min_samples: int
    scope: str
    alpha: float

    @property
    def limit(self) -> Fraction:
        """Of a perplexity, which may rise by a share, the logarithm's rise."""
        is_log = self.metric.unit == "perplexity"
        return Fraction(log1p(self.max_drop)) if is_log else Fraction(str(self.max_drop))

    @property
    def judged(self) -> list[Slice]:
        """Those that are large enough."""
        return [each for each in self.found.parts if len(each) >= self.min_samples]

    @property
    def small(self) -> list[Slice]:
        """The others."""
        return [each for each in self.found.parts if len(each) < self.min_samples]

    def drop(self, part: Slice) -> Fraction:
        """Without rounding."""
        change = exact_mean(part.before) - exact_mean(part.after)
        return change if self.metric.higher_is_better else -change

    def named(self, part: Slice) -> str:
        """A slice's name in a sentence."""
        return named_slice(part.name, self.found.by)

    def told(self, part: Slice, drop: Fraction) -> str:
        """By how much a slice changes, with its counts."""
        better = drop < 0
        verb = "rises" if better == bool(self.metric.higher_is_better) else "drops"
        amount = self.metric.shown_amount(float(drop))
        return f"{self.variant.name} {verb} {amount} on {self.named(part)} ({self.counts(part)})"

    def counts(self, part: Slice) -> str:
        """As `counts_of`."""
        return counts_of(part, self.metric)

    @property
    def allowed(self) -> str:
        """For a person."""
        if self.metric.unit == "perplexity":
            return f"{100 * self.max_drop:g} % of FP32's"
        return self.metric.shown_change(self.max_drop)

    def left_out(self) -> str:
        """The slices that are too small, as the end of a sentence."""
        if not self.small:
            return ""
        names = listed(
            (f"{self.named(part)} ({len(part)})" for part in self.small), MOST_NAMES, counted=True
        )
        return f"; not judged, as smaller than {self.min_samples} samples: {names}"

    def undecided(self) -> Verdict:
        """No slice is large enough."""
        largest = max(self.found.parts, key=len)
        return self.verdict(
            Outcome.INCONCLUSIVE,
            f"no slice of {len(self.found.parts)} has {self.min_samples} samples (the largest, "
            f"{self.named(largest)}, has {len(largest)}), so none is judged; give more samples, larger "
            "slices or a smaller min_samples",
        )

    def verdict(
        self, outcome: Outcome, clause: str, worst: Slice | None = None, **more: Any
    ) -> Verdict:
        observed = None
        if worst is not None:
            drop = float(self.drop(worst))
            observed = rise_of(drop) if self.metric.unit == "perplexity" else drop
            more |= {"slice": worst.name, "lost": worst.lost, "won": worst.won}
        return Verdict.on(
            self.variant, GATE, QUANTITY, outcome, clause,
            limit=self.max_drop, observed=observed, metric=self.metric.name,
            evidence={
                "samples": self.found.samples,
                "slices": len(self.judged),
                "too_small": [part.name for part in self.small[:MOST_KEPT]],
                "min_samples": self.min_samples,
                "by": self.found.by,
                "scope": self.scope,
                "alpha": self.alpha,
                **more,
            },
        )  # fmt: skip


def named_slice(name: str, by: str) -> str:
    """A slice's name in a sentence, short."""
    line = " ".join(name.split())
    short = line if len(line) <= MOST_NAME else f"{line[: MOST_NAME - 3]}..."
    return f"slice {short}" if by == BY_NAME else short


def counts_of(part: Slice, metric: Metric) -> str:
    """How many of a slice's samples are right before and after, or their mean scores."""
    scores = np.concatenate([part.before, part.after])
    if ((scores == 0) | (scores == 1)).all():
        word = "right" if metric.higher_is_better else "wrong"
        return f"{part.before.sum():.0f} -> {part.after.sum():.0f} of {len(part):,} {word}"
    means = (metric.shown(float(each.mean())) for each in (part.before, part.after))
    return f"{' -> '.join(means)}, {len(part):,} samples"


def _on_the_set(asked: _Asked) -> Verdict:
    """The verdict on the eval set as it is."""
    parts = asked.judged
    drops = [asked.drop(part) for part in parts]
    chances = holm([sign_tail(part.lost, part.won) for part in parts])
    every = sorted(zip(parts, drops, chances, strict=True), key=lambda each: -each[1])
    over = [each for each in every if each[1] > asked.limit]
    failed = [each for each in over if each[2] <= asked.alpha]
    by_chance = [each for each in over if each[2] > asked.alpha]
    worst, drop, chance = (failed or every)[0]
    tested = f"sign test, Holm over {len(parts):,} {'slice' if len(parts) == 1 else 'slices'}"
    clause = f"{asked.told(worst, drop)}, allowed {asked.allowed}"
    if failed:
        clause += (
            f"; {worst.lost:,} of its samples got worse and {worst.won:,} better, by chance with "
            f"p {shown_chance(chance)} ({tested})"
        )
        clause += _more("; over the limit too", asked, failed[1:])
    else:
        clause += f", the most of {len(parts):,} slices" if len(parts) > 1 else ""
    if by_chance and worst is by_chance[0][0]:
        clause += f"; that is over the limit, but no more than chance explains ({tested})"
        clause += _more("; so are", asked, by_chance[1:])
    elif by_chance:
        clause += _more("; over the limit, but no more than chance explains", asked, by_chance)
    return asked.verdict(
        Outcome.FAIL if failed else Outcome.PASS,
        clause + asked.left_out(),
        worst,
        p=chance,
        over=[part.name for part, _, _ in failed[:MOST_KEPT]],
        by_chance=[part.name for part, _, _ in by_chance[:MOST_KEPT]],
    )


def _more(what: str, asked: _Asked, each: Sequence[tuple[Slice, Fraction, float]]) -> str:
    if not each:
        return ""
    told = (
        f"{asked.named(part)} ({asked.metric.shown_change(float(drop))}: {asked.counts(part)})"
        for part, drop, _ in each
    )
    return f"{what}: {listed(told, MOST_NAMES, counted=True)}"


def _in_the_population(asked: _Asked) -> Verdict:
    """The verdict on all inputs of which each slice is a random sample."""
    parts, metric = asked.judged, asked.metric
    found = bound_slices(parts, metric, float(asked.limit), asked.alpha)
    drops = {part.name: asked.drop(part) for part in parts}
    pool = found.failed or found.open or parts
    worst = max(pool, key=lambda part: drops[part.name])
    clause = f"{asked.told(worst, drops[worst.name])}, allowed {asked.allowed} in the population"
    if found.failed:
        outcome = Outcome.FAIL
        clause += (
            f"; that it is within the limit is refuted at alpha {asked.alpha:g} "
            f"({found.method}, Holm over {len(parts):,} slices)"
        )
        rest = [part for part in found.failed if part is not worst]
        clause += _more("; so are", asked, [(part, drops[part.name], 0.0) for part in rest])
    elif found.open:
        outcome = Outcome.INCONCLUSIVE
        need = f"; about {found.need:,} samples of a slice would decide" if found.need else ""
        clause += (
            f"; {len(found.open):,} of {len(parts):,} slices are not proven to hold it at alpha "
            f"{asked.alpha:g} ({found.method}){need}"
        )
    else:
        outcome = Outcome.PASS
        clause += (
            f"; each of {len(parts):,} slices holds it at alpha {asked.alpha:g} ({found.method})"
        )
    return asked.verdict(
        outcome,
        clause + asked.left_out(),
        worst,
        method=found.method,
        over=[part.name for part in found.failed[:MOST_KEPT]],
        open=[part.name for part in found.open[:MOST_KEPT]],
        samples_needed=found.need,
    )


def _slices_of(variant: Variant, metric: Metric) -> Sliced:
    own, fp32 = variant.evaluation, variant.fp32.evaluation
    if metric.name not in own.scores:
        raise QuantStageError(
            "evaluate",
            f"slices need a score for each sample, and metric {metric.name} gives one number for a batch "
            "or the whole set; let quant_metric return a tensor of shape [batch], or limit its drop as a "
            "whole (assert_max_accuracy_drop).",
        )
    found = sliced(own, fp32, metric)
    if found is None:
        raise QuantStageError(
            "fixture",
            "the targets of quant_eval_data are no class numbers, so there are no slices; override the "
            "fixture quant_slices with a callable (inputs, targets) -> a name for each sample of a batch.",
        )
    if not found.parts:
        raise QuantStageError(
            "fixture",
            f"quant_slices put none of the {found.samples:,} samples that have a score into a slice; None "
            "is for samples that are in no slice, others need a name.",
        )
    return found


def _check_min_samples(given: Any) -> None:
    if isinstance(given, bool) or not isinstance(given, int):
        raise TypeError(f"min_samples is {given!r}; expected a whole number from 1 on")
    if given < 1:
        raise ValueError(f"min_samples is {given!r}; expected a whole number from 1 on")
