"""Terminal: the lines of the summary at the end of a run."""

from collections.abc import Iterator

from pytest_quant.report.document import Report
from pytest_quant.report.frame import frame_of
from pytest_quant.report.ship import may_ship
from pytest_quant.report.table import table_of
from pytest_quant.report.text import clipped, printable

MOST_REASONS = 3


def summary_lines(report: Report, format: str) -> Iterator[str]:
    """Header, table, notes and errors.

    Args:
        report: of the run.
        format: one of tabulate's table formats.
    """
    if report.environment:
        yield header(report)
    yield from table_of(frame_of(report), format).splitlines()
    yield from map(printable, remarks(report))


def answer_line(report: Report) -> str:
    """Whether the models may ship, and the first reasons."""
    ship = may_ship(report)
    why = "; ".join(clipped(text, 200) for text in ship.why[:MOST_REASONS])
    more = len(ship.why) - MOST_REASONS
    expected = f"; {len(ship.expected)} FAIL expected" if ship.expected else ""
    return f"may ship: {ship.answer}: {why}{f'; and {more} more' if more > 0 else ''}{expected}"


def header(report: Report) -> str:
    """What decides whether two reports can be compared, in one line."""
    env = report.environment
    said = [
        f"{word}{env[name]}{unit}"
        for name, word, unit in (
            ("torch", "torch ", ""),
            ("engine", "engine ", ""),
            ("threads", "", " threads"),
            ("cpu", "", ""),
            ("isa", "", ""),
        )
        if env.get(name) is not None
    ]
    if env.get("vnni") is not None:
        said.append("VNNI" if env["vnni"] else "no VNNI")
    if env.get("workers", 1) > 1:
        said.append(f"timed beside {env['workers']} workers")
    return printable(", ".join(said))


def remarks(report: Report) -> Iterator[str]:
    """One line for an interruption, each undecided gate, each note and each error."""
    if report.interrupted:
        yield "the run was interrupted: rows and verdicts are missing"
    for verdict in report.verdicts:
        if verdict["outcome"] == "INCONCLUSIVE":
            yield f"{verdict['test']}: {verdict['sentence']}"
    yield from notes(report)


def notes(report: Report) -> Iterator[str]:
    """One line for each error and each note of a row."""
    yield from report.notes
    yield from (report.since or {}).get("remarks", ())
    names = report.model_names()
    for row in report.rows:
        who = f"{names[(row['where'], row['model'])]} {row['variant']}"
        if row["error"]:
            yield f"{who}: {row['error']}"
        for note in row["notes"]:
            yield f"{who}: {note}"
