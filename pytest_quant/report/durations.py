"""Durations: where the time of a run went, by variant and stage."""

from collections.abc import Iterator

from pytest_quant.errors import listed
from pytest_quant.report.document import Report
from pytest_quant.report.table_fit import FITTED, laid_out
from pytest_quant.report.text import clipped
from pytest_quant.report.width import terminal_columns

# As they follow each other; a stage of another name comes after these.
STAGES = ("load", "prepare", "calibrate", "train", "convert", "size", "evaluate", "time")
TOTAL = "total"


def durations_of(report: Report, format: str) -> str:
    """A table of seconds: a line for each variant, a column for each stage that any of them had.

    Evaluation is that of the variant itself; timing is of FP32 and the variant in turn, and counts as
    the variant's. What tests and fixtures do besides is not in it.

    Args:
        report: of the run, or read from a file.
        format: one of tabulate's table formats.
    """
    rows = [row for row in report.ordered() if row.seconds]
    if not rows:
        return "no stage was timed"
    had = dict.fromkeys(stage for row in rows for stage in row.seconds)
    stages = [stage for stage in STAGES if stage in had]
    stages += [stage for stage in had if stage not in STAGES]
    names, variants = report.model_names(), report.variant_names()
    lines = []
    for row in rows:
        spent = [row.seconds.get(stage) for stage in stages]
        total = sum(seconds or 0.0 for seconds in row.seconds.values())
        who = {"model": clipped(names[row.key.of_model]), "variant": clipped(variants[row.key])}
        lines.append(
            {**who, **dict(zip(stages, map(_seconds, spent), strict=True)), TOTAL: _seconds(total)}
        )
    totals = [sum(row.seconds.get(stage) or 0.0 for row in rows) for stage in stages]
    each = dict(zip(stages, map(_seconds, totals), strict=True))
    lines.append({"model": "all", "variant": "", **each, TOTAL: _seconds(sum(totals))})
    heads = {"model": "seconds", "variant": "", **{s: clipped(s) for s in stages}, TOTAL: TOTAL}
    table = laid_out(heads, lines, format, terminal_columns() if format in FITTED else None)
    workers = report.environment.get("workers", 1)
    if workers > 1:
        table += f"\neach variant's seconds are of one of the {workers} workers"
    return table + "".join(f"\n{line}" for line in _not_kept(report))


def _not_kept(report: Report) -> Iterator[str]:
    """Of each variant that the cache does not keep the reason; a reason once."""
    reasons: dict[str, list[str]] = {}
    names = report.variant_names()
    for row in report.ordered():
        if row.not_kept:
            reasons.setdefault(row.not_kept, []).append(names[row.key])
    for why, whose in reasons.items():
        yield f"not in the cache: {listed(dict.fromkeys(whose), 4)}, {why}"


def _seconds(value: float | None) -> str:
    """One decimal from ten seconds on, else two: a step of some milliseconds should be seen."""
    if value is None:
        return "-"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
