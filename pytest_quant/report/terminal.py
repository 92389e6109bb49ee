"""Terminal: the lines of the summary at the end of a run."""

from collections import defaultdict
from collections.abc import Iterator

from pytest_quant.explain.lost.explanation import HEADER
from pytest_quant.explain.remedies.remedy import Remedy
from pytest_quant.report.choices import shown_choices
from pytest_quant.report.document import Report
from pytest_quant.report.explained import Explained, explained_of
from pytest_quant.report.frame import frame_of
from pytest_quant.report.latency_grid import grid_of
from pytest_quant.report.moments import moments
from pytest_quant.report.ship import may_ship
from pytest_quant.report.slices import slice_lines
from pytest_quant.report.table_fit import terminal_table
from pytest_quant.report.text import clipped, printable
from pytest_quant.report.told import Told
from pytest_quant.report.width import folded, hung, paragraph, terminal_columns

MOST_REASONS = 3
MOST_NAMED = 4  # variants with one error
WIDTH = 100  # columns of a paragraph, or the terminal's where it has fewer
MOST_EXPLAINED = 20  # variants; the rest is in report.json
MOST_CHOICES, MOST_CHOICE = 8, 1500  # models, characters of one
LAYERS = 3  # of a variant, so that it takes a dozen lines at most


def summary_lines(report: Report, format: str, told: Told | None = None) -> Iterator[str]:
    """Header, table, notes and errors, where variants lose, and which kind fits each model.

    Args:
        report: of the run.
        format: one of tabulate's table formats.
        told: sentences that the reader has had in full; those of these lines are added.
    """
    told = Told() if told is None else told
    columns = terminal_columns()
    if report.environment:
        yield from fitted(header(report))
    yield from terminal_table(frame_of(report), format, columns).splitlines()
    if grid := grid_of(report, format):
        yield from ("", *grid.splitlines(), "")
    for remark in remarks(report, told):
        yield from fitted(printable(remark))
    for line in slice_lines(report):
        yield from fitted(line)
    yield from explanations(report)
    yield from choices(report)


def answer_line(report: Report, told: Told | None = None) -> str:
    """Whether the models may ship, and the first reasons; those that were told before by name."""
    ship = may_ship(report, Told() if told is None else told)
    why = "; ".join(map(printable, ship.why[:MOST_REASONS]))
    more = len(ship.why) - MOST_REASONS
    by = "its test" if len(ship.expected) == 1 else "their tests"
    expected = f"; {len(ship.expected)} FAIL caught or expected by {by}" if ship.expected else ""
    remarks = "".join(f"; {printable(text)}" for text in ship.remarks)
    return f"may ship: {ship.answer}: {why}{f'; and {more} more' if more > 0 else ''}{expected}{remarks}"


def fitted(line: str) -> list[str]:
    """A line as lines of the terminal's width."""
    columns = terminal_columns()
    return [line] if columns is None else folded(line, columns, "  ").splitlines()


def header(report: Report) -> str:
    """What decides whether two reports can be compared, in one line."""
    env = report.environment
    said = [
        f"{word}{env[name]}{unit}"
        for name, word, unit in (
            ("torch", "torch ", ""),
            ("engine", "engine ", ""),
            ("threads", "", " thread" if env.get("threads") == 1 else " threads"),
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


def remarks(report: Report, told: Told) -> Iterator[str]:
    """One line for an interruption, each undecided gate, each note and each error."""
    if report.interrupted:
        yield "the run was interrupted: rows and verdicts are missing"
    for place, verdict in enumerate(report.verdicts):
        if verdict["outcome"] == "INCONCLUSIVE":
            name = f"{verdict['quantity']} INCONCLUSIVE of {verdict['variant']}"
            sentence = told.once(verdict["sentence"], name, f"remark {place}")
            yield f"{verdict['test']}: {sentence}"
    yield from notes(report, told)


def notes(report: Report, told: Told | None = None) -> Iterator[str]:
    """One line for each error and each note of a row.

    Args:
        report: of the run.
        told: sentences that the reader has had; the errors are added, and rows that have one error
            share its line. None for a line for each row.
    """
    yield from report.notes
    yield from (report.since or {}).get("remarks", ())
    names, variants = report.model_names(), report.variant_names()
    errors = defaultdict[str, list[str]](list)
    for row in report.rows:
        if row.error:
            errors[row.error].append(f"{names[row.key.of_model]} {variants[row.key]}")
    for row in report.rows:
        who = f"{names[row.key.of_model]} {variants[row.key]}"
        if row.error and told is None:
            yield f"{who}: {row.error}"
        elif row.error and told is not None and errors[row.error]:
            told.add(row.error, who)
            yield f"{_first(errors.pop(row.error))}: {row.error}"
        for note in row.notes:
            yield f"{who}: {note}"
    yield from moments(report)


def _first(names: list[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def explanations(report: Report) -> Iterator[str]:
    """Where each variant loses what it loses, and what would mend it.

    The failed test of one that FAILed has told it already, so only its remedy is repeated.
    """
    found = [each for each in explained_of(report) if each.is_looked_into]
    for each in found[:MOST_EXPLAINED]:
        who = f"{each.model} {each.variant}"
        if not each.failed:
            yield f"{who}: where it is lost"
            yield from _told(each)
        if each.remedy is not None:
            start = "  " if not each.failed else f"{who}: "
            yield from fitted(f"{start}remedy: {remedy_text(each.remedy)}")
    if len(found) > MOST_EXPLAINED:
        yield f"... and {len(found) - MOST_EXPLAINED} more variants in report.json"


def choices(report: Report) -> Iterator[str]:
    """Which kind fits each model, as a paragraph."""
    found = shown_choices(report)
    for model, text in found[:MOST_CHOICES]:
        text = clipped(f"{clipped(model)}: {text}", MOST_CHOICE)
        yield from paragraph([text], _columns(), indent="")
    if len(found) > MOST_CHOICES:
        yield f"... and {len(found) - MOST_CHOICES} more models in report.json"


def remedy_text(remedy: Remedy) -> str:
    """Its line to paste; where none was found, why."""
    return remedy.line or " ".join(remedy.sentences[:2]) or "none was found"


def _told(each: Explained) -> Iterator[str]:
    others = [noun.sentences[:1] for noun in (each.slowness, each.tensors) if noun is not None]
    if each.explanation is not None:
        yield from paragraph(each.explanation.sentences, _columns(), 4 - len(others))
        layers, columns = LAYERS - (len(others) > 1), terminal_columns()
        table = each.explanation.table(layers)
        yield from (f"  {x}" for x in hung(table, HEADER[-1], columns and columns - 2))
    for sentences in others:
        yield from paragraph(sentences, _columns(), 2)


def _columns() -> int:
    """Of a paragraph."""
    return min(WIDTH, terminal_columns() or WIDTH)
