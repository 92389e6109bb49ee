"""Terminal: the lines of the summary at the end of a run."""

from collections.abc import Iterator

from pytest_quant.report.document import Report
from pytest_quant.report.frame import frame_of
from pytest_quant.report.table import table_of


def summary_lines(report: Report, format: str) -> Iterator[str]:
    """Header, table, notes and errors.

    Args:
        report: of the run.
        format: one of tabulate's table formats.
    """
    if report.environment:
        yield header(report)
    yield from table_of(frame_of(report), format).splitlines()
    yield from remarks(report)


def header(report: Report) -> str:
    """What decides whether two reports can be compared, in one line."""
    env = report.environment
    vnni = "VNNI" if env["vnni"] else "no VNNI"
    line = (
        f"torch {env['torch']}, engine {env['engine']}, {env['threads']} threads, {env['cpu']}, "
        f"{env['isa']}, {vnni}"
    )
    return line + (f", timed beside {env['workers']} workers" if env.get("workers", 1) > 1 else "")


def remarks(report: Report) -> Iterator[str]:
    """One line for an interruption, each undecided gate, each note and each error."""
    if report.interrupted:
        yield "the run was interrupted: rows and verdicts are missing"
    for verdict in report.verdicts:
        if verdict["outcome"] == "INCONCLUSIVE":
            yield f"{verdict['test']}: {verdict['sentence']}"
    names = report.model_names()
    for row in report.ordered():
        who = f"{names[(row['where'], row['model'])]} {row['variant']}"
        if row["error"]:
            yield f"{who}: {row['error']}"
        for note in row["notes"]:
            yield f"{who}: {note}"
