"""Sizes: megabytes as bars, and how much of them is int8."""

from pytest_quant.baseline.row import Row
from pytest_quant.report.plots.drawing import FP32, WIDTH, Drawing
from pytest_quant.report.plots.points import LARGEST, Plot, Point, is_number
from pytest_quant.variant.measurements import MB

LINE, LEFT, RIGHT = 30, 104, 84  # pixels: of a line, left of the bars, right of the longest


def sizes(name: str, model: str, points: list[Point]) -> Plot | None:
    """The plot; None where no size is known."""
    sized = [(p, p.row.size.tensor_bytes) for p in points if p.row.size]
    sized = [each for each in sized if 0 < each[1] < LARGEST]
    if not sized:
        return None
    drawing = Drawing(8 + LINE * len(sized))
    most = max(total for _, total in sized)
    said = []
    for index, (point, total) in enumerate(sized):
        y, part = 16 + LINE * index, int8_part(point.row)
        length = (WIDTH - LEFT - RIGHT) * total / most
        drawing.axes.barh([y], [length * part], 14, left=[LEFT], color=point.color)
        drawing.axes.barh([y], [length * (1 - part)], 14, left=[LEFT + length * part], color=FP32,
                          alpha=0.45)  # fmt: skip
        drawing.text(0, y, point.name)
        drawing.text(LEFT + length + 8, y, f"{total / MB:.2f} MB")
        said.append(f"{point.name}: {total / MB:.2f} MB, {100 * part:.0f} % of it int8")
    caption = "In the variant's colour what is int8, in grey what stayed FP32."
    return Plot("Size", caption, drawing.svg(name, f"{model}: size", "; ".join(said)))


def int8_part(row: Row) -> float:
    """The share of a variant's bytes that is not parameters in FP32: those that stayed so keep their
    bytes, and the rest is int8 with its scales."""
    parameters = row.int8_share and row.int8_share.parameters
    if not parameters or not row.fp32_size or not row.size or not is_number(parameters):
        return 0.0
    stayed = (1 - parameters) * row.fp32_size / row.size.tensor_bytes
    return float(min(1.0, max(0.0, 1 - stayed)))
