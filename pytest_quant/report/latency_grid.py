"""Latency grid: milliseconds and speed-ups of each variant, by threads and samples in one call."""

from typing import Any

from tabulate import tabulate

from pytest_quant.baseline.row import TimedCell
from pytest_quant.report.document import Report
from pytest_quant.report.table_fit import FITTED, laid_out
from pytest_quant.report.text import MOST_NAME, clipped, in_markdown
from pytest_quant.report.width import terminal_columns

HEADS = {
    "model": "model",
    "variant": "variant",
    "threads": "threads",
    "batch": "batch",
    "fp32_ms": "FP32 ms/batch",
    "ms": "ms/batch",
    "speedup": "speed-up [95 %]",
}


def grid_lines(report: Report) -> list[dict[str, str]]:
    """A line for each cell of each variant, as texts by the keys of `HEADS`."""
    names, variants = report.model_names(), report.variant_names()
    return [
        {"model": names[row.key.of_model], "variant": variants[row.key], **_cells(cell)}
        for row in report.ordered()
        for cell in row.grid
    ]


def grid_of(report: Report, format: str) -> str:
    """The grid as a table for the terminal; empty where nothing was timed for one.

    Args:
        report: of the run, or read from a file.
        format: one of tabulate's table formats.
    """
    lines = [_named(line, clipped) for line in grid_lines(report)]
    if not lines:
        return ""
    return laid_out(HEADS, lines, format, terminal_columns() if format in FITTED else None)


def grid_in_markdown(lines: list[dict[str, str]]) -> list[str]:
    """Some lines of the grid as a Markdown table, with its head."""
    cells = [list(_named(line, in_markdown).values()) for line in lines]
    aligned = ["left", "left", *["right"] * (len(HEADS) - 2)]
    return tabulate(
        cells, list(HEADS.values()), "pipe", disable_numparse=True, colalign=aligned
    ).splitlines()


def _named(line: dict[str, str], name: Any) -> dict[str, str]:
    return line | {key: name(line[key], MOST_NAME) for key in ("model", "variant")}


def _cells(cell: TimedCell) -> dict[str, str]:
    interval = cell.interval
    span = f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else ""
    return {
        "threads": str(cell.threads),
        "batch": "-" if cell.batch is None else str(cell.batch),
        "fp32_ms": _number(cell.fp32_ms, "{:.4g}"),
        "ms": _number(cell.ms, "{:.4g}"),
        "speedup": _number(cell.speedup, "{:.2f}x") + span,
    }


def _number(value: float | None, pattern: str) -> str:
    return "-" if value is None else pattern.format(value)
