"""Points: a model's variants as they are drawn, each with its own colour and mark."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeGuard

from pytest_quant.baseline.row import Row
from pytest_quant.report.plots.drawing import FP32, SERIES
from pytest_quant.report.text import clipped

MOST_VARIANTS = 12
MOST_LETTERS = 16  # of a variant's name
LARGEST = 1e15  # numbers beyond it are no measurements
MARKERS = ("o", "^", "s", "v", "P", "X")
GLYPHS = ("●", "▲", "■", "▼", "✚", "✖")


class Point(NamedTuple):
    """A variant, its row, and how it is drawn."""

    name: str
    row: Row
    color: str
    marker: str

    @property
    def is_fp32(self) -> bool:
        """Whether it is the baseline."""
        return self.color == FP32


class Mark(NamedTuple):
    """A line of a legend."""

    name: str
    glyph: str
    color: str  # of the page's: fp32, series-0, ...


class Plot(NamedTuple):
    """A figure of the page."""

    title: str
    caption: str
    svg: str


def points_of(rows: Sequence[Row]) -> list[Point]:
    """One for each row of a model; more than `MOST_VARIANTS` nobody tells apart."""
    points, others = [], 0
    for row in rows[:MOST_VARIANTS]:
        if row.is_fp32:
            points.append(Point("fp32", row, FP32, "D"))
            continue
        name = clipped(row.variant, MOST_LETTERS)
        points.append(
            Point(name, row, SERIES[others % len(SERIES)], MARKERS[others % len(MARKERS)])
        )
        others += 1
    return points


def mark_of(point: Point) -> Mark:
    """How the legend names a point."""
    if point.is_fp32:
        return Mark("fp32", "◇", "fp32")
    index = SERIES.index(point.color)
    return Mark(point.name, GLYPHS[index], f"series-{index}")


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value can be drawn."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and abs(value) < LARGEST
    )
