"""Flips: samples that a variant scores differently from FP32, for better or worse."""

from fractions import Fraction

from pytest_quant.errors import QuantStageError
from pytest_quant.judge.accuracy_drop import metric_named
from pytest_quant.judge.honesty import broken_outputs, refusal, why_refused
from pytest_quant.judge.verdict import Outcome, Verdict
from pytest_quant.subject.metrics import Metric
from pytest_quant.variant.evaluation import counted, flipped, has_flips
from pytest_quant.variant.variant import Variant

GATE = "max_flips"


def judge_flips(variant: Variant, max_flips: float) -> Verdict:
    """Whether the share of samples whose score differs from FP32's is at most `max_flips`.

    Equal accuracy can hide many answers that changed, as many for the better as for the worse
    (Dutta et al., "Accuracy is not all you need", NeurIPS 2024, arXiv 2407.09141).

    Raises:
        QuantStageError: when the metric does not score each sample, or is a loss or an error.
    """
    metric = metric_named(variant, None)
    if reason := why_refused(variant) or broken_outputs(variant):
        return refusal(GATE, "flips", variant, max_flips, reason, metric.name)
    if not has_flips(metric):
        raise QuantStageError(
            "evaluate",
            f"flips of {metric.name} say nothing: it is no right or wrong, and any rounding changes every "
            "sample's score. Limit how far the outputs are from FP32's (assert_min_sqnr(variant, 20)), or "
            "the loss itself (assert_max_accuracy_drop).",
        )
    if metric.name not in variant.evaluation.scores:
        raise QuantStageError(
            "evaluate",
            f"flips need a score for each sample, and metric {metric.name} gives one number "
            "for a batch or the whole set; let quant_metric return a tensor of shape [batch].",
        )
    flips, samples = flips_of(variant, metric)
    share = Fraction(flips, samples)
    outcome = Outcome.PASS if share <= Fraction(str(max_flips)) else Outcome.FAIL
    return Verdict.on(
        variant,
        GATE,
        "flips",
        outcome,
        f"{variant.name} scores {flips} of {samples} samples differently from FP32 "
        f"({100 * flips / samples:.2f} %), allowed {100 * max_flips:g} %",
        limit=max_flips,
        observed=float(share),
        metric=metric.name,
        evidence={"samples": samples, "flips": flips},
    )


def flips_of(variant: Variant, metric: Metric) -> tuple[int, int]:
    """How many samples are scored otherwise than by FP32, and how many have a score."""
    own = variant.evaluation
    flips = len(flipped(own, variant.fp32.evaluation, metric.name))
    return flips, len(counted(own.scores[metric.name]))
