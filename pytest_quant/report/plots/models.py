"""Models: each model's variants side by side, as plots."""

from typing import NamedTuple

from pytest_quant.judge.speed_cell import is_of_cell
from pytest_quant.report.document import Report
from pytest_quant.report.plots.classes import classes
from pytest_quant.report.plots.drawing import own_style
from pytest_quant.report.plots.pareto import pareto
from pytest_quant.report.plots.points import Mark, Plot, is_number, mark_of, points_of
from pytest_quant.report.plots.sizes import sizes
from pytest_quant.report.plots.speedups import speedups
from pytest_quant.variant.key import RowKey

MOST_MODELS = 8


class ModelPlots(NamedTuple):
    """All plots of one model, and what their marks mean."""

    model: str
    marks: list[Mark]
    plots: list[Plot]


def plots_of(report: Report) -> list[ModelPlots]:
    """The plots of the first models that have something to plot.

    Raises:
        ImportError: matplotlib is not installed.
    """
    names = report.model_names()
    limits = {
        RowKey.of(verdict): verdict["limit"]
        for verdict in report.verdicts
        if verdict["gate"] == "min_speedup"
        and not is_of_cell(verdict["quantity"])  # the bars are of the run's own threads and batch
        and is_number(verdict["limit"])
    }
    found: list[ModelPlots] = []
    with own_style():
        for key, rows in report.rows_by_model().items():
            name, model, points = f"plot-{len(found)}", names[key], points_of(rows)
            drawn = (
                pareto(f"{name}-pareto", model, points),
                speedups(f"{name}-speed", model, points, limits),
                sizes(f"{name}-size", model, points),
                classes(f"{name}-classes", model, points),
            )
            if any(drawn):
                marks = [mark_of(point) for point in points]
                found.append(ModelPlots(model, marks, [plot for plot in drawn if plot]))
            if len(found) == MOST_MODELS:
                break
    return found
