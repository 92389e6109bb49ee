"""Slices of the report: where each variant loses most, for terminal, Markdown and page."""

from collections.abc import Iterator
from typing import NamedTuple

from pytest_quant.baseline.row import MetricScore, SliceScore
from pytest_quant.judge.exact_tails import shown_chance
from pytest_quant.report.document import Report
from pytest_quant.report.plots.points import is_number
from pytest_quant.report.text import clipped
from pytest_quant.variant.slices import BY_NAME

MOST_VARIANTS = 24
MOST_NAMED = 3  # slices of a line
HEADS = ("slice", "samples", "FP32", "variant", "drop", "worse", "better", "by chance")
AMOUNTS = {"fraction": ("{:.2f} %", "{:.2f} pt"), "perplexity": ("{:.4g}", "{:.2f} %")}


class SliceTable(NamedTuple):
    """What the page shows of one variant."""

    model: str
    variant: str
    metric: str
    lines: list[tuple[str, ...]]
    left_out: int


def slice_tables(report: Report) -> tuple[list[SliceTable], int]:
    """The slices of each variant that drop most; how many variants are left out."""
    found = list(_sliced(report))
    tables = [
        SliceTable(
            model,
            variant,
            clipped(metric.name),
            [_cells(each, metric) for each in metric.slices or ()],
            max(0, (metric.slice_count or 0) - len(metric.slices or ())),
        )
        for model, variant, metric in found[:MOST_VARIANTS]
    ]
    return tables, len(found) - len(tables)


def slice_lines(report: Report) -> Iterator[str]:
    """A line for each variant with its worst slices, where `quant_slices` names these; where nobody asked
    for slices, only a note tells of them, when there is something to tell."""
    for model, variant, metric in _sliced(report):
        if metric.sliced_by != BY_NAME:
            continue
        large = [each for each in metric.slices or () if each.chance is not None]
        worst = [each for each in large if is_number(each.drop) and each.drop > 0]
        told = ", ".join(
            f"{clipped(each.name)} {_change(each.drop, metric)} of {each.samples:,} samples "
            f"({each.lost:,} worse, {each.won:,} better)"
            for each in worst[:MOST_NAMED]
        )
        count = f"{metric.slice_count or 0:,} slices"
        none = "none drops" if large else "all are too small to tell"
        yield f"{model} {variant}: worst of {count}: {told or none}"


def _sliced(report: Report) -> Iterator[tuple[str, str, MetricScore]]:
    names, variants = report.model_names(), report.variant_names()
    for row in report.rows:
        metric = next((each for each in row.metrics if each.slices), None)
        if metric is not None:
            yield clipped(names[row.key.of_model]), clipped(variants[row.key]), metric


def _cells(each: SliceScore, metric: MetricScore) -> tuple[str, ...]:
    chance = "too few"
    if is_number(each.chance):
        chance = shown_chance(each.chance).removeprefix("= ")
    return (
        clipped(each.name),
        f"{each.samples:,}",
        _shown(each.fp32, metric),
        _shown(each.value, metric),
        _change(each.drop, metric),
        f"{each.lost:,}",
        f"{each.won:,}",
        chance,
    )


def _shown(value: float | None, metric: MetricScore) -> str:
    if not is_number(value):
        return "-"
    form = AMOUNTS.get(metric.unit, ("{:.4g}", ""))[0]
    return form.format(100 * value if metric.unit == "fraction" else value)


def _change(drop: float | None, metric: MetricScore) -> str:
    if not is_number(drop):
        return "-"
    form = AMOUNTS.get(metric.unit, ("", "{:.4g}"))[1]
    return form.format(100 * drop if metric.unit in AMOUNTS else drop)
