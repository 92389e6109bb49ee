"""Speed-ups: ratios to FP32 with their 95 % intervals, beside the limits."""

from collections.abc import Mapping

from pytest_quant.report.plots.drawing import INK, MUTED, RULE, WIDTH, Drawing
from pytest_quant.report.plots.points import Plot, Point, is_number
from pytest_quant.variant.key import RowKey

LINE, LEFT, RIGHT = 30, 104, 130  # pixels: of a line, left of 0, right of the highest


def speedups(
    name: str, model: str, points: list[Point], limits: Mapping[RowKey, float]
) -> Plot | None:
    """The plot; None where nothing was timed.

    Args:
        limits: of the speed-up, by the key of a row.
    """
    timed = [
        point
        for point in points
        if not point.is_fp32 and point.row.latency and is_number(point.row.latency.speedup)
    ]
    if not timed:
        return None
    drawing = Drawing(32 + LINE * len(timed))
    own = {index: limits[key] for index, p in enumerate(timed) if (key := p.row.key) in limits}
    most = max([1.0, *own.values(), *(_interval(point)[2] for point in timed)])

    def at(ratio: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * ratio / most

    bottom = 12 + LINE * len(timed)
    drawing.line([LEFT, LEFT], [0, bottom], RULE)
    drawing.line([at(1), at(1)], [0, bottom], MUTED, linestyle=(0, (3, 3)))
    drawing.text(at(1), bottom + 10, "1x", ha="center", color=MUTED)
    said = []
    for index, point in enumerate(timed):
        y, (low, ratio, high) = 18 + LINE * index, _interval(point)
        drawing.line([at(low), at(high)], [y, y], point.color, linewidth=9, alpha=0.3)
        if index in own:
            drawing.line([at(own[index])] * 2, [y - 10, y + 10], INK, linewidth=1.6)
        drawing.mark(at(ratio), y, point.color, point.marker, 7)
        drawing.text(0, y, point.name)
        shown = f"{ratio:.2f}x" + (f" [{low:.2f}, {high:.2f}]" if low < high else "")
        drawing.text(WIDTH, y, shown, ha="right")
        limit = f", limit {own[index]:g}x" if index in own else ""
        said.append(f"{point.name}: {shown}{limit}")
    caption = "Times as fast as FP32, with the 95 % interval."
    caption += " The upright tick is the limit." if own else ""
    return Plot("Speed-up", caption, drawing.svg(name, f"{model}: speed-up", "; ".join(said)))


def _interval(point: Point) -> tuple[float, float, float]:
    """Low end, ratio, high end; all the same where there is no interval."""
    assert point.row.latency is not None  # it was timed
    ratio, ends = float(point.row.latency.speedup or 0), point.row.latency.interval_95
    low, high = ends if ends and len(ends) == 2 else (None, None)
    return (low, ratio, high) if is_number(low) and is_number(high) else (ratio, ratio, ratio)
