"""Classes: the drop of those that drop most, a mark for each variant."""

from typing import NamedTuple

from pytest_quant.baseline.row import MetricScore
from pytest_quant.report.plots.drawing import MUTED, RULE, WIDTH, Drawing
from pytest_quant.report.plots.points import Plot, Point, is_number

WORST = 20
LINE, LEFT, RIGHT, TOP = 22, 104, 14, 12  # pixels: of a line, beside the axis, above it


class Dropped(NamedTuple):
    """What is known of the classes of a model: its variants, and their drops by label."""

    points: list[Point]
    metric: MetricScore | None
    drops: dict[int, list[float | None]]


def classes(name: str, model: str, points: list[Point]) -> Plot | None:
    """The plot; None where no class differs from FP32's."""
    known = dropped(points)
    if known.metric is None or not any(any(drops) for drops in known.drops.values()):
        return None
    worst = worst_of(known)
    scale, unit = {"fraction": (100, "points"), "perplexity": (100, "per cent")}.get(
        known.metric.unit, (1, known.metric.name)
    )
    shown = [scale * drop for label in worst for drop in known.drops[label] if drop is not None]
    ticks = _ticks(min(*shown, 0), max(*shown, 0))
    bottom = TOP + LINE * len(worst)
    drawing = Drawing(bottom + 36)

    def at(drop: float) -> float:
        return LEFT + (WIDTH - RIGHT - LEFT) * (drop - ticks[0]) / (ticks[-1] - ticks[0])

    for tick in ticks:
        drawing.line([at(tick)] * 2, [0, bottom - 4], RULE if tick else MUTED)
        drawing.text(at(tick), bottom + 8, f"{tick:g}", ha="center", color=MUTED)
    said = []
    for index, label in enumerate(worst):
        y = TOP + LINE * index
        drawing.text(0, y, f"class {label}")
        numbers = []
        for which, (point, drop) in enumerate(zip(known.points, known.drops[label], strict=True)):
            if drop is None:
                continue
            aside = (which - (len(known.points) - 1) / 2) * min(4, 14 / len(known.points))
            drawing.mark(at(scale * drop), y + aside, point.color, point.marker, 6)
            numbers.append(f"{point.name} {scale * drop:.4g}")
        said.append(f"class {label}: {', '.join(numbers)}")
    drawing.text(WIDTH - RIGHT, bottom + 26, f"drop, {unit}", ha="right", color=MUTED)
    rest = len(known.drops) - len(worst)
    caption = "Right of the grey line a class is worse than with FP32, left of it better."
    caption += f" {rest} more are in report.json." if rest else ""
    title = f"The {len(worst)} classes that drop most" if rest else "Drop by class"
    return Plot(title, caption, drawing.svg(name, f"{model}: {title}", "; ".join(said)))


def dropped(points: list[Point]) -> Dropped:
    """The drops by class of all variants that have them."""
    shown: list[Point] = []
    metric: MetricScore | None = None
    by_variant: list[dict[int, float]] = []
    for point in points:
        found = next((each for each in point.row.metrics if each.classes), None)
        if found is None or point.is_fp32:
            continue
        metric = metric or found
        shown.append(point)
        by_variant.append(
            {each.label: each.drop for each in found.classes or () if is_number(each.drop)}
        )
    labels = dict.fromkeys(label for drops in by_variant for label in drops)
    return Dropped(
        shown, metric, {label: [drops.get(label) for drops in by_variant] for label in labels}
    )


def worst_of(known: Dropped) -> list[int]:
    """The labels of the classes that drop most in any variant, the worst first."""
    most = {
        label: max(drop for drop in drops if drop is not None)
        for label, drops in known.drops.items()
    }
    return sorted(most, key=lambda label: (-most[label], label))[:WORST]


def _ticks(low: float, high: float) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    ticks = [float(tick) for tick in MaxNLocator(4).tick_values(low, high)]
    return [0.0 if abs(tick) < 1e-9 * (high - low) else tick for tick in ticks]
