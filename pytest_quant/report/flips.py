"""Flips of the report: the samples on which each variant and FP32 do not agree, for the page."""

from typing import NamedTuple

from pytest_quant.baseline.row import FlippedSample, MetricScore
from pytest_quant.report.document import Report
from pytest_quant.report.plots.points import is_number
from pytest_quant.report.text import clipped

MOST_VARIANTS = 24
HEADS = (
    "sample",
    "label",
    "FP32 says",
    "output",
    "score",
    "variant says",
    "output",
    "score",
    "change",
)


class FlipTable(NamedTuple):
    """What the page shows of one variant."""

    model: str
    variant: str
    metric: str
    total: int
    lines: list[tuple[str, ...]]
    left_out: int


def flip_tables(report: Report) -> tuple[list[FlipTable], int]:
    """The samples of each variant that flip, the worst first; how many variants are left out."""
    names, variants = report.model_names(), report.variant_names()
    found = [
        _table(clipped(names[row.key.of_model]), clipped(variants[row.key]), metric)
        for row in report.rows
        for metric in [next((each for each in row.metrics if each.worst_flips), None)]
        if metric is not None
    ]
    return found[:MOST_VARIANTS], max(0, len(found) - MOST_VARIANTS)


def _table(model: str, variant: str, metric: MetricScore) -> FlipTable:
    flips = metric.worst_flips or ()
    total = max(metric.flips or 0, len(flips))
    lines = [_cells(each, metric.higher_is_better) for each in flips]
    return FlipTable(model, variant, clipped(metric.name), total, lines, total - len(flips))


def _cells(each: FlippedSample, higher_is_better: bool) -> tuple[str, ...]:
    return (
        f"{each.position:,}",
        _class(each.label),
        _class(each.fp32_class),
        _number(each.fp32_output),
        _number(each.fp32_score),
        _class(each.variant_class),
        _number(each.variant_output),
        _number(each.score),
        _verdict(each, higher_is_better),
    )


def _verdict(each: FlippedSample, higher_is_better: bool) -> str:
    if not (is_number(each.score) and is_number(each.fp32_score)):
        return ""
    return "worse" if (each.score < each.fp32_score) == higher_is_better else "better"


def _class(given: int | None) -> str:
    return "-" if given is None else str(given)


def _number(given: float | None) -> str:
    return f"{given:.4g}" if is_number(given) else "-"
