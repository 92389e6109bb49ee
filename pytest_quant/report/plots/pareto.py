"""Pareto: value against milliseconds, FP32 marked, the best trade-offs joined."""

from typing import NamedTuple

from pytest_quant.report.plots.drawing import MUTED, RULE, Drawing
from pytest_quant.report.plots.points import Plot, Point, is_number
from pytest_quant.report.text import clipped

LEAST_SPAN = 0.01  # of the values' axis: one point, so that equal models look equal


class Placed(NamedTuple):
    """A point with its coordinates."""

    point: Point
    ms: float
    value: float


def pareto(name: str, model: str, points: list[Point]) -> Plot | None:
    """The plot of the first metric; None with fewer than two variants that were timed and evaluated."""
    placed = _placed(points)
    if len(placed) < 2:
        return None
    metric = placed[0].point.row.metrics[0]
    fraction, higher = metric.unit == "fraction", metric.higher_is_better
    scale, unit = (100, " %") if fraction else (1, "")
    drawing = Drawing(248, (44, 34, 12, 44))
    _set_axes(drawing, placed, fraction, scale)
    xs, ys = front(placed, higher)
    low, high = drawing.axes.get_ylim()
    ends = [xs[0], *xs, drawing.axes.get_xlim()[1]], [low if higher else high, *ys, ys[-1]]
    drawing.axes.step(*ends, where="post", color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
    for point, ms, value in placed:
        drawing.mark(ms, value, point.color, point.marker, 9)
    within = {"transform": drawing.figure.transFigure, "color": MUTED}
    label = clipped(metric.name, 30)
    better = "" if higher else ", lower is better"
    drawing.text(0, 0.95, f"{label}{',' if unit else ''}{unit}{better}", **within)
    batch = next((p.row.latency.batch for p in points if p.row.latency), None)
    of_batch = f" for a batch of {batch}" if batch else ""
    drawing.text(0.97, 0.04, f"milliseconds{of_batch}", ha="right", **within)
    said = "; ".join(f"{p.name}: {ms:.4g} ms, {scale * v:.5g}{unit}" for p, ms, v in placed)
    title = f"{label[:1].upper()}{label[1:]} against latency"
    side = "up" if higher else "down"
    caption = f"Better is {side} and to the left; beyond the dashed line is nothing better."
    return Plot(title, caption, drawing.svg(name, f"{model}: {title}", said))


def front(placed: list[Placed], higher: bool) -> tuple[list[float], list[float]]:
    """The points than which none is both faster and better, by milliseconds."""
    xs: list[float] = []
    ys: list[float] = []
    sign = 1 if higher else -1
    for _, ms, value in sorted(placed, key=lambda each: (each.ms, -sign * each.value)):
        if not ys or sign * value > sign * ys[-1]:
            xs.append(ms)
            ys.append(value)
    return xs, ys


def _placed(points: list[Point]) -> list[Placed]:
    timed = [point.row.latency for point in points if point.row.latency]
    found: list[Placed] = []
    for point in points:
        latency, metrics = point.row.latency, point.row.metrics
        own = latency.ms if latency else None
        ms = timed[-1].fp32_ms if point.is_fp32 and timed else own
        value = metrics[0].value if metrics else None
        if is_number(ms) and is_number(value):
            found.append(Placed(point, ms, value))
    return found


def _set_axes(drawing: Drawing, placed: list[Placed], fraction: bool, scale: int) -> None:
    axes = drawing.axes
    values = [each.value for each in placed]
    low, high = min(values), max(values)
    least = LEAST_SPAN if fraction else LEAST_SPAN * max(abs(low), abs(high)) or 1.0
    margin = 0.18 * max(high - low, least) + max(0.0, least - (high - low)) / 2
    axes.set_ylim(low - margin, high + margin)
    axes.set_xlim(0, 1.08 * max(each.ms for each in placed) or 1.0)
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.locator_params(nbins=5)
    axes.yaxis.set_major_formatter(lambda value, _: f"{scale * value:.5g}")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.5g}")
