"""Rows: what is known of a variant so far, as plain JSON types that can cross processes."""

import math
from typing import Any

from pytest_quant.baseline.packing import fingerprint_of
from pytest_quant.explain.notes import notes_on
from pytest_quant.judge.accuracy_drop import exact_values
from pytest_quant.judge.speedup import shown_interval
from pytest_quant.report import explained
from pytest_quant.subject.metrics import Metric
from pytest_quant.variant.evaluation import Evaluation, by_class, flipped
from pytest_quant.variant.variant import Variant

Row = dict[str, Any]
MOST_IDS = 1000  # of flipped samples that a report lists
MOST_CLASSES = 1000


def row_of(variant: Variant) -> Row:
    """A variant's row: measurements that were made, None for those that were not."""
    size, share = variant.measured("size"), variant.measured("int8_share")
    return {
        "model": variant.subject.label,
        "where": variant.subject.where,
        "variant": variant.name,
        "recipe": None if variant.recipe is None else variant.recipe.to_dict(),
        "metrics": _metrics(variant),
        "eval_set": _eval_set(variant),
        "size": None if size is None else size.to_dict(),
        "fp32_size": _fp32_bytes(variant),
        "int8_share": None if share is None else share.to_dict(),
        "latency": _latency(variant),
        **explained.cells_of(variant),
        "seconds": dict(variant.seconds),
        "notes": notes_on(variant),
        "error": variant.error,
    }


def failed_row(model: str, where: str, variant: str, error: str) -> Row:
    """The row of a variant that could not be made."""
    return {
        "model": model,
        "where": where,
        "variant": variant,
        "recipe": None,
        "metrics": [],
        "eval_set": None,
        "size": None,
        "fp32_size": None,
        "int8_share": None,
        "latency": None,
        **explained.UNKNOWN,
        "seconds": {},
        "notes": [],
        "error": error,
    }


def _metrics(variant: Variant) -> list[dict[str, Any]]:
    evaluation = variant.measured("evaluation")
    if evaluation is None:
        return _metrics_of_a_part(variant)
    rows: list[dict[str, Any]] = []
    for metric in variant.admitted.metrics:
        row = _metric_row(metric, evaluation)
        row["fake_quantized"] = (evaluation.fake_quantized or {}).get(metric.name)
        if not variant.is_fp32 and math.isfinite(row["value"]):
            before, after = exact_values(variant, metric)
            row["drop"] = float(before - after if metric.higher_is_better else after - before)
            if metric.name in evaluation.scores:
                ids = flipped(evaluation, variant.fp32.evaluation, metric.name)
                row["flips"], row["flipped"] = len(ids), ids[:MOST_IDS]
            if metric.unit == "perplexity":
                row["drop"] = math.expm1(row["drop"])
        if not any(known["classes"] for known in rows):
            row["classes"] = _classes(variant, metric) or None
        rows.append(row)
    return rows


def _classes(variant: Variant, metric: Metric) -> list[dict[str, Any]]:
    """The metric by class, in the order of the labels; of too many classes those that drop most."""
    found = by_class(variant.evaluation, variant.fp32.evaluation, metric)
    worst = sorted(found, key=lambda each: -each[3])[:MOST_CLASSES]
    logarithms = metric.unit == "perplexity"
    return [
        {
            "label": label,
            "samples": samples,
            "value": math.exp(value) if logarithms else value,
            "drop": None if variant.is_fp32 else math.expm1(drop) if logarithms else drop,
        }
        for label, samples, value, drop in sorted(worst)
    ]


def _eval_set(variant: Variant) -> dict[str, Any] | None:
    """Which samples it was evaluated on, all of them: their fingerprint and count."""
    evaluation = variant.measured("evaluation")
    if evaluation is None:
        return None
    return {"fingerprint": fingerprint_of(evaluation.samples), "samples": len(evaluation)}


def _metrics_of_a_part(variant: Variant) -> list[dict[str, Any]]:
    """After an early stop: the metrics on the samples that were seen."""
    prefix = variant.measured("prefix")
    if prefix is None or not prefix.seen:
        return []
    evaluation = prefix.evaluation()
    rows = [
        _metric_row(metric, evaluation)
        for metric in variant.admitted.metrics
        if metric.name in evaluation.scores
    ]
    for row in rows:
        row["of"] = prefix.samples
    return rows


def _metric_row(metric: Metric, evaluation: Evaluation) -> dict[str, Any]:
    value = evaluation.values[metric.name]
    return {
        "name": metric.name,
        "unit": metric.unit,
        "higher_is_better": metric.higher_is_better,
        "value": math.exp(value) if metric.unit == "perplexity" else float(value),
        "samples": len(evaluation),
        "of": len(evaluation),
        "drop": None,
        "flips": None,
        "flipped": None,
        "fake_quantized": None,
        "classes": None,
    }


def _fp32_bytes(variant: Variant) -> int | None:
    size = variant.fp32.measured("size")
    return None if size is None else int(size.tensor_bytes)


def _latency(variant: Variant) -> dict[str, Any] | None:
    pair = variant.measured("pair given")
    if variant.is_fp32 or pair is None or not pair.seconds_a:
        return None
    interval = shown_interval(pair)
    fp32_ms, own_ms = pair.milliseconds
    return {
        "ms": own_ms,
        "fp32_ms": fp32_ms,
        "batch": pair.batch,
        "speedup": pair.ratio,
        "interval_95": None if interval is None else list(interval),
        "rounds": len(pair.seconds_a),
        "against_best": _against_best(variant, pair.ratio),
    }


def _against_best(variant: Variant, ratio: float) -> float | None:
    """The speed-up against the fastest FP32: timed if a gate asked for it, else by way of FP32's own
    gain in channels_last."""
    best, gain = variant.measured("pair best"), variant.fp32.measured("format_gain")
    if best is not None and best.seconds_a:
        return float(best.ratio)
    return None if gain is None else float(ratio / max(1.0, gain))
