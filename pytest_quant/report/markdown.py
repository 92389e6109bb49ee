"""Markdown: the report as a page for a pull request or a release checklist, of under 60 lines."""

import re
from collections.abc import Sequence
from itertools import accumulate

from pytest_quant.explain.lost.layer import Layer
from pytest_quant.report.choices import shown_choices
from pytest_quant.report.document import Report
from pytest_quant.report.explained import Explained, explained_of
from pytest_quant.report.frame import frame_of
from pytest_quant.report.latency_grid import grid_in_markdown, grid_lines
from pytest_quant.report.plots.points import is_number
from pytest_quant.report.ship import Answer, MayShip, may_ship
from pytest_quant.report.slices import slice_lines
from pytest_quant.report.table import attention_first, table_of
from pytest_quant.report.terminal import header, notes, remedy_text
from pytest_quant.report.text import MOST_NAME, MOST_SENTENCE, in_markdown
from pytest_quant.report.verdict_cells import MARKS, VerdictCells, gates_of

MOST_LINES = 59
FRAME_LINES = 23  # of these: headings, heads of tables, what is between, "... and N more"
FIRST_ROWS = 10  # of the table, which come before all else
MOST_TOLD = 3  # causes of one variant
CAUSE_FRAME, CHOICE_FRAME, GRID_FRAME = 4, 4, 7
MOST_CHOICES = 4
WORST = 3  # layers
MOST_SAID = 1000  # characters of two sentences, or of the paragraph on a choice
ANSWER_MARKS = {Answer.YES: "✅", Answer.NO: "❌", Answer.UNDECIDED: "❔"}
HEADS = ("", "model", "variant", "gate", "limit", "observed", "evidence")
REST = "... and {} more in report.json"


def markdown_of(report: Report) -> str:
    """The page: whether the models may ship and why, the table, a line for each gate, notes."""
    ship, frame, gates = may_ship(report), frame_of(report), gates_of(report)
    why, said = _reasons(ship), [*slice_lines(report), *notes(report)]
    chosen = [f"{model}: {text}" for model, text in shown_choices(report)]
    causes = [_cause(each) for each in explained_of(report) if each.failed]
    grid = grid_lines(report)
    more = range(sum(map(len, causes[1:])))  # there is always room for the first
    first = min(len(frame), FIRST_ROWS)
    parts = (why, range(len(frame) - first), gates, said, chosen[:MOST_CHOICES], more, grid)
    frame_lines = FRAME_LINES + (CHOICE_FRAME if chosen else 0)
    frame_lines += CAUSE_FRAME + len(causes[0]) if causes else 0
    frame_lines += GRID_FRAME if grid else 0
    room = _shares([len(part) for part in parts], MOST_LINES - frame_lines - first)
    room[1] += first
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
    if grid:
        lines += ["", "## Latency by threads and batch", "", *grid_in_markdown(grid[: room[6]])]
        lines += _rest(len(grid) - room[6])
    if gates:
        lines += ["", "## Gates", "", _row(HEADS), "|:--" * len(HEADS) + "|"]
        lines += [_row(_cells(gate)) for gate in gates[: room[2]]]
        lines += _rest(len(gates) - room[2])
    if causes:
        ends = accumulate(map(len, causes))
        shown = causes[: max(1, sum(end <= len(causes[0]) + room[5] for end in ends))]
        lines += ["", "## Causes and remedies", *(line for cause in shown for line in cause)]
        lines += _rest(len(causes) - len(shown))
    if chosen:
        lines += ["", "## Which kind to choose", "", *_listed(chosen, room[4], MOST_SAID)]
    if said:
        lines += ["", "## Notes", "", *_listed(said, room[3])]
    return "\n".join(lines) + "\n"


def _reasons(ship: MayShip) -> list[str]:
    expected = (f"expected by its test: {text}" for text in ship.expected)
    return [*ship.why, *expected, *ship.remarks]


def _cause(each: Explained) -> list[str]:
    """Why a variant FAILed and what would mend it, as lines of which the first is empty."""
    explanation = each.explanation
    sentences = [*explanation.sentences[:2]] if explanation else []
    sentences += [
        noun.sentences[0] for noun in (each.slowness, each.tensors) if noun and noun.sentences
    ]
    who = f"{in_markdown(each.model, MOST_NAME)} {in_markdown(each.variant, MOST_NAME)}"
    said = each.causes[:MOST_TOLD] or [" ".join(sentences[:3])]
    lines = ["", *(f"- **{who}**: {in_markdown(text, MOST_SAID)}".rstrip(": ") for text in said)]
    if explanation and explanation.layers:
        lines.append(f"- worst layers: {'; '.join(map(_layer, explanation.ranked[:WORST]))}")
    if each.remedy is not None and not each.remedy.line:
        lines.append(f"- remedy: {in_markdown(remedy_text(each.remedy), MOST_SAID)}")
    elif each.remedy is not None:
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", each.remedy.line)), default=0))
        lines += ["", f"{fence}python", each.remedy.line, fence]
    return lines


def _layer(layer: Layer) -> str:
    said = [layer.type] if layer.type else []
    said += [f"{100 * layer.share:.0f} % of the noise"] if is_number(layer.share) else []
    said += [f"{layer.sqnr:.1f} dB"] if is_number(layer.sqnr) else []
    return in_markdown(f"{layer.name} ({', '.join([*said, *layer.words])})")


def _listed(texts: Sequence[str], room: int, most: int = MOST_SENTENCE) -> list[str]:
    rest = [f"- {REST.format(len(texts) - room)}"] if room < len(texts) else []
    return [f"- {_at_start(in_markdown(text, most))}" for text in texts[:room]] + rest


def _at_start(line: str) -> str:
    """A line whose first sign is no heading, list or quotation in Markdown."""
    return f"\\{line}" if line.startswith(("#", "+", "-", "=", ":")) else line


def _rest(count: int) -> list[str]:
    return ["", REST.format(count)] if count > 0 else []


def _cells(gate: VerdictCells) -> list[str]:
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
