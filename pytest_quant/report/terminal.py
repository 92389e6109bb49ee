"""Terminal: the lines of the summary at the end of a run."""

import shutil
import textwrap
from collections.abc import Iterable, Iterator

from pytest_quant.explain.remedies.remedy import Remedy
from pytest_quant.report.choices import shown_choices
from pytest_quant.report.document import Report
from pytest_quant.report.explained import Explained, explained_of
from pytest_quant.report.frame import frame_of
from pytest_quant.report.ship import may_ship
from pytest_quant.report.table import table_of
from pytest_quant.report.text import clipped, printable
from pytest_quant.report.told import Told

MOST_REASONS = 3
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
    if report.environment:
        yield header(report)
    yield from table_of(frame_of(report), format).splitlines()
    yield from map(printable, remarks(report, told))
    yield from explanations(report)
    yield from choices(report)


def answer_line(report: Report, told: Told | None = None) -> str:
    """Whether the models may ship, and the first reasons; those that were told before by name."""
    ship = may_ship(report, Told() if told is None else told)
    why = "; ".join(map(printable, ship.why[:MOST_REASONS]))
    more = len(ship.why) - MOST_REASONS
    expected = f"; {len(ship.expected)} FAIL expected" if ship.expected else ""
    remarks = "".join(f"; {printable(text)}" for text in ship.remarks)
    return f"may ship: {ship.answer}: {why}{f'; and {more} more' if more > 0 else ''}{expected}{remarks}"


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
    """One line for each error that was not told before, and each note of a row."""
    yield from report.notes
    yield from (report.since or {}).get("remarks", ())
    names, variants = report.model_names(), report.variant_names()
    for row in report.rows:
        who = f"{names[row.key.of_model]} {variants[row.key]}"
        if row.error and told is None:
            yield f"{who}: {row.error}"
        elif row.error and told is not None and row.error not in told:
            told.add(row.error, who)
            others = (each for each in report.rows if each is not row and each.error == row.error)
            also = [f"{names[each.key.of_model]} {variants[each.key]}" for each in others]
            yield f"{', '.join([who, *also])}: {row.error}"
        for note in row.notes:
            yield f"{who}: {note}"


def explanations(report: Report) -> Iterator[str]:
    """Where each variant loses what it loses, and what would mend it.

    The failed test of one that FAILed has told it already, so only its remedy is repeated.
    """
    found = explained_of(report)
    for each in found[:MOST_EXPLAINED]:
        who = f"{each.model} {each.variant}"
        if not each.failed:
            yield f"{who}: where it is lost"
            yield from _told(each)
        if each.remedy is not None:
            start = "  " if not each.failed else f"{who}: "
            yield f"{start}remedy: {remedy_text(each.remedy)}"
    if len(found) > MOST_EXPLAINED:
        yield f"... and {len(found) - MOST_EXPLAINED} variants more in report.json"


def choices(report: Report) -> Iterator[str]:
    """Which kind fits each model, as a paragraph."""
    found = shown_choices(report)
    for model, text in found[:MOST_CHOICES]:
        yield from paragraph([clipped(f"{clipped(model)}: {text}", MOST_CHOICE)], indent="")
    if len(found) > MOST_CHOICES:
        yield f"... and {len(found) - MOST_CHOICES} models more in report.json"


def remedy_text(remedy: Remedy) -> str:
    """Its line to paste; where none was found, why."""
    return remedy.line or " ".join(remedy.sentences[:2]) or "none was found"


def paragraph(sentences: Iterable[str], most: int | None = None, indent: str = "  ") -> list[str]:
    """Sentences as lines of text, at most so many; what is cut ends in dots."""
    columns = min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)
    return textwrap.wrap(
        " ".join(sentences),
        max(40, columns),
        initial_indent=indent,
        subsequent_indent="  ",
        max_lines=most,
        placeholder=" ...",
        break_on_hyphens=False,
    )


def _told(each: Explained) -> Iterator[str]:
    others = [noun.sentences[:1] for noun in (each.slowness, each.tensors) if noun is not None]
    if each.explanation is not None:
        yield from paragraph(each.explanation.sentences, 4 - len(others))
        layers = LAYERS - (len(others) > 1)
        yield from (f"  {line}" for line in each.explanation.table(layers).splitlines())
    for sentences in others:
        yield from paragraph(sentences, 2)
