"""Rows: what is known of a variant so far, as a Row that can cross processes."""

import math
from dataclasses import replace
from typing import Any

from pytest_quant.baseline.packing import fingerprint_of
from pytest_quant.baseline.row import (
    ClassScore,
    EvalSet,
    FlippedSample,
    Latency,
    MetricScore,
    Row,
    SliceScore,
    TimedCell,
)
from pytest_quant.explain.notes import notes_on
from pytest_quant.judge.accuracy_drop import exact_values
from pytest_quant.judge.speedup import shown_interval
from pytest_quant.judge.uneven import tested
from pytest_quant.machine.cell import Cell
from pytest_quant.report import explained
from pytest_quant.subject.answers import CLASS, OUTPUT
from pytest_quant.subject.metrics import Metric
from pytest_quant.subject.perplexity import perplexity_of, rise_of
from pytest_quant.variant.evaluation import Evaluation, by_class, flipped, has_flips
from pytest_quant.variant.flips import worst_flips
from pytest_quant.variant.kept import KEPT
from pytest_quant.variant.key import key_of
from pytest_quant.variant.rounds import Pair
from pytest_quant.variant.variant import Variant

MOST_IDS = 1000  # of flipped samples that a report lists
MOST_CLASSES = 1000
MOST_SLICES = 24
MOST_FLIPS = 24  # that are shown with both outputs


def row_of(variant: Variant) -> Row:
    """A variant's row: measurements that were made, None for those that were not."""
    return Row(
        **key_of(variant)._asdict(),
        fp32_digest=variant.fp32.measured("digest"),
        recipe=None if variant.recipe is None else variant.recipe.to_dict(),
        metrics=tuple(_metrics(variant)),
        eval_set=_eval_set(variant),
        size=variant.measured("size"),
        fp32_size=_fp32_bytes(variant),
        int8_share=variant.measured("int8_share"),
        latency=_latency(variant),
        grid=tuple(_timed_cell(*each) for each in variant.grid.items() if each[1].seconds_a),
        sqnr=_sqnr(variant),
        **explained.cells_of(variant),
        seconds=dict(variant.seconds),
        **_of_cache(variant),
        notes=tuple(notes_on(variant)),
        error=variant.error,
    )


def _of_cache(variant: Variant) -> dict[str, Any]:
    """What an earlier run made, and why the cache keeps nothing."""
    found = {what: variant.measured(name) for what, name in KEPT.items()}
    known = {what: kept for what, kept in found.items() if kept is not None}
    reasons = [kept.why_not for kept in known.values() if kept.why_not]
    return {
        "from_cache": tuple(what for what, kept in known.items() if kept.is_old),
        "not_kept": reasons[0] if reasons else None,
    }


def _metrics(variant: Variant) -> list[MetricScore]:
    evaluation = variant.measured("evaluation")
    if evaluation is None:
        return _metrics_of_a_part(variant)
    found: list[MetricScore] = []
    for metric in variant.admitted.metrics:
        score = _metric_score(metric, evaluation)
        known: dict[str, Any] = {
            "fake_quantized": (evaluation.fake_quantized or {}).get(metric.name)
        }
        if not variant.is_fp32 and math.isfinite(evaluation.values[metric.name]):
            before, after = exact_values(variant, metric)
            drop = float(before - after if metric.higher_is_better else after - before)
            known["drop"] = rise_of(drop) if metric.unit == "perplexity" else drop
            if metric.name in evaluation.scores and has_flips(metric):
                ids = flipped(evaluation, variant.fp32.evaluation, metric.name)
                known |= {"flips": len(ids), "flipped": tuple(ids[:MOST_IDS])}
                known["worst_flips"] = _flips(variant, metric)
        if not any(each.classes for each in found):
            known["classes"] = _classes(variant, metric) or None
        if not variant.is_fp32 and not any(each.slices for each in found):
            known |= _slices(variant, metric)
        found.append(replace(score, **known))
    return found


def _classes(variant: Variant, metric: Metric) -> tuple[ClassScore, ...]:
    """The metric by class, in the order of the labels; of too many classes those that drop most."""
    found = by_class(variant.evaluation, variant.fp32.evaluation, metric)
    worst = sorted(found, key=lambda each: -each[3])[:MOST_CLASSES]
    logarithms = metric.unit == "perplexity"
    return tuple(
        ClassScore(
            label=label,
            samples=samples,
            value=perplexity_of(value) if logarithms else value,
            drop=None if variant.is_fp32 else rise_of(drop) if logarithms else drop,
        )
        for label, samples, value, drop in sorted(worst)
    )


def _flips(variant: Variant, metric: Metric) -> tuple[FlippedSample, ...]:
    """The samples whose score differs, with what both models say of them."""
    own, fp32 = variant.evaluation, variant.fp32.evaluation
    return tuple(
        FlippedSample(
            position=int(fp32.order[index]),
            label=None if fp32.labels is None else int(fp32.labels[index]),
            fp32_score=float(fp32.scores[metric.name][index]),
            score=float(own.scores[metric.name][index]),
            fp32_class=_said(fp32, index)[0],
            fp32_output=_said(fp32, index)[1],
            variant_class=_said(own, index)[0],
            variant_output=_said(own, index)[1],
        )
        for index in worst_flips(own, fp32, metric, MOST_FLIPS)
    )


def _said(evaluation: Evaluation, index: int) -> tuple[int | None, float | None]:
    """The class that a model names, and its output."""
    if evaluation.answers is None:
        return None, None
    named, output = evaluation.answers[index, CLASS], float(evaluation.answers[index, OUTPUT])
    return None if math.isnan(named) else int(named), None if math.isnan(output) else output


def _slices(variant: Variant, metric: Metric) -> dict[str, Any]:
    """The metric by slice, those that drop most."""
    found = tested(variant, metric)
    if found is None:
        return {}
    logarithms = metric.unit == "perplexity"
    scores = tuple(
        SliceScore(
            name=part.name,
            samples=len(part),
            fp32=_value(part.before, logarithms),
            value=_value(part.after, logarithms),
            drop=rise_of(part.drop) if logarithms else part.drop,
            lost=part.lost,
            won=part.won,
            chance=chance,
        )
        for part, chance in found.worst_first[:MOST_SLICES]
    )
    count = len(found.sliced.parts)
    return {"slices": scores, "slice_count": count, "sliced_by": found.sliced.by}


def _value(scores: Any, logarithms: bool) -> float:
    mean = float(scores.mean())
    return perplexity_of(mean) if logarithms else mean


def _eval_set(variant: Variant) -> EvalSet | None:
    """Which samples it was evaluated on, all of them: their fingerprint and count."""
    evaluation = variant.measured("evaluation")
    if evaluation is None:
        return None
    return EvalSet(fingerprint=fingerprint_of(evaluation.samples), samples=len(evaluation))


def _metrics_of_a_part(variant: Variant) -> list[MetricScore]:
    """After an early stop: the metrics on the samples that were seen."""
    prefix = variant.measured("prefix")
    if prefix is None or not prefix.seen:
        return []
    evaluation = prefix.evaluation()
    return [
        replace(_metric_score(metric, evaluation), of=prefix.samples)
        for metric in variant.admitted.metrics
        if metric.name in evaluation.scores
    ]


def _metric_score(metric: Metric, evaluation: Evaluation) -> MetricScore:
    value = evaluation.values[metric.name]
    return MetricScore(
        name=metric.name,
        unit=metric.unit or "fraction",
        higher_is_better=metric.higher_is_better is not False,
        value=perplexity_of(value) if metric.unit == "perplexity" else float(value),
        samples=len(evaluation),
        of=len(evaluation),
        drop=None,
        flips=None,
    )


def _sqnr(variant: Variant) -> float | None:
    known = None if variant.is_fp32 else variant.measured("nearness")
    return known if known is not None and math.isfinite(known) else None


def _fp32_bytes(variant: Variant) -> int | None:
    size = variant.fp32.measured("size")
    return None if size is None else int(size.tensor_bytes)


def _latency(variant: Variant) -> Latency | None:
    pair = variant.measured("pair given")
    if variant.is_fp32 or pair is None or not pair.seconds_a:
        return None
    fp32_ms, own_ms = pair.milliseconds
    return Latency(
        ms=own_ms,
        fp32_ms=fp32_ms,
        batch=pair.batch,
        speedup=pair.ratio,
        interval_95=shown_interval(pair),
        rounds=len(pair.seconds_a),
        against_best=_against_best(variant, pair.ratio),
        against_runtime=_ratio_of(variant.measured("pair runtime")),
    )


def _timed_cell(cell: Cell, pair: Pair) -> TimedCell:
    fp32_ms, own_ms = pair.milliseconds
    return TimedCell(
        threads=cell.threads,
        batch=pair.batch,
        ms=own_ms,
        fp32_ms=fp32_ms,
        speedup=pair.ratio,
        interval_95=shown_interval(pair),
        rounds=len(pair.seconds_a),
    )


def _against_best(variant: Variant, ratio: float) -> float | None:
    """The speed-up against the fastest FP32: timed if a gate asked for it, else by way of FP32's own
    gain in channels_last."""
    best, gain = _ratio_of(variant.measured("pair best")), variant.fp32.measured("format_gain")
    if best is not None:
        return best
    return None if gain is None else float(ratio / max(1.0, gain))


def _ratio_of(pair: Pair | None) -> float | None:
    """Of a pair, if it has been timed."""
    return None if pair is None or not pair.seconds_a else float(pair.ratio)
