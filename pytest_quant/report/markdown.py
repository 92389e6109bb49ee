"""Markdown: the report as a page for a pull request or a release checklist, of under 60 lines."""

from collections.abc import Sequence

from pytest_quant.report.document import Report
from pytest_quant.report.frame import frame_of
from pytest_quant.report.gates import MARKS, Gate, gates_of
from pytest_quant.report.ship import Answer, MayShip, may_ship
from pytest_quant.report.table import attention_first, table_of
from pytest_quant.report.terminal import header, notes
from pytest_quant.report.text import MOST_NAME, in_markdown

MOST_LINES = 59
FRAME_LINES = 23  # of these: headings, heads of tables, what is between, "... and N more"
ANSWER_MARKS = {Answer.YES: "✅", Answer.NO: "❌", Answer.UNDECIDED: "❔"}
HEADS = ("", "model", "variant", "gate", "limit", "observed", "evidence")
REST = "... and {} more in report.json"


def markdown_of(report: Report) -> str:
    """The page: whether the models may ship and why, the table, a line for each gate, notes."""
    ship, frame, gates = may_ship(report), frame_of(report), gates_of(report)
    why, said = _reasons(ship), list(notes(report))
    parts = (why, range(len(frame)), gates, said)
    room = _shares([len(part) for part in parts], MOST_LINES - FRAME_LINES)
    lines = [
        "# Quantization report",
        "",
        f"**May ship: {ship.answer}** {ANSWER_MARKS[ship.answer]}",
        "",
        *_listed(why, room[0]),
        "",
    ]
    if report.environment:
        lines += [in_markdown(header(report)), ""]
    if room[1] < len(frame):
        frame = attention_first(frame)
    lines += table_of(frame.head(room[1]), "pipe").splitlines()
    lines += _rest(len(frame) - room[1])
    if gates:
        lines += ["", "## Gates", "", _row(HEADS), "|:--" * len(HEADS) + "|"]
        lines += [_row(_cells(gate)) for gate in gates[: room[2]]]
        lines += _rest(len(gates) - room[2])
    if said:
        lines += ["", "## Notes", "", *_listed(said, room[3])]
    return "\n".join(lines) + "\n"


def _reasons(ship: MayShip) -> list[str]:
    skipped = [f"tests of variants that were skipped: {ship.skipped}"] if ship.skipped else []
    return [*ship.why, *(f"expected by its test: {text}" for text in ship.expected), *skipped]


def _listed(texts: Sequence[str], room: int) -> list[str]:
    rest = [f"- {REST.format(len(texts) - room)}"] if room < len(texts) else []
    return [f"- {_at_start(in_markdown(text))}" for text in texts[:room]] + rest


def _at_start(line: str) -> str:
    """A line whose first sign is no heading, list or quotation in Markdown."""
    return f"\\{line}" if line.startswith(("#", "+", "-", "=", ":")) else line


def _rest(count: int) -> list[str]:
    return ["", REST.format(count)] if count > 0 else []


def _cells(gate: Gate) -> list[str]:
    mark = f"{MARKS[gate.outcome]}{' expected' if gate.expected else ''}"
    names = [in_markdown(text, MOST_NAME) for text in (gate.model, gate.variant, gate.quantity)]
    return [mark, *names, gate.limit, gate.observed, in_markdown(gate.evidence)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _shares(wanted: list[int], room: int) -> list[int]:
    """What each gets of a room: all that it wants, or an equal part of what the smaller ones leave."""
    given = [0] * len(wanted)
    for done, index in enumerate(sorted(range(len(wanted)), key=lambda each: wanted[each])):
        given[index] = min(wanted[index], room // (len(wanted) - done))
        room -= given[index]
    return given
