"""Terminal: what was found out fits on a screen, and is not said twice."""

import pytest
from builders import (
    explanation_cells,
    layer_cells,
    measured_rows,
    plain_row,
    plain_verdict,
    remedy_cells,
    slowness_cells,
    tensors_cells,
)

from pytest_quant.report import terminal
from pytest_quant.report.document import Report
from pytest_quant.report.terminal import MOST_EXPLAINED, choices, explanations, summary_lines

LINE = remedy_cells()["line"]


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "240")


def lines_of(*outcomes, **known):
    row = plain_row(**known)
    verdicts = [plain_verdict(row, outcome) for outcome in outcomes]
    return list(explanations(Report({}, [row], verdicts)))


def test_sentences_the_worst_layers_and_the_remedy_are_told():
    lines = lines_of("PASS", explanation=explanation_cells(), remedy=remedy_cells())
    assert lines[0] == "Net static: where it is lost"
    assert lines[1].startswith("  features.0 makes 72 % of the noise")
    heads = next(index for index, line in enumerate(lines) if line.startswith("  layer "))
    names = [line.split()[0] for line in lines[heads + 2 :]]
    assert names == ["features.0", "classifier", "features.3", "remedy:"]
    assert lines[-1] == f"remedy: {LINE}"


def test_what_a_failed_test_has_told_is_not_repeated_but_for_the_remedy():
    known = {"explanation": explanation_cells(), "slowness": slowness_cells()}
    assert lines_of("PASS", "FAIL", **known, remedy=remedy_cells()) == [
        f"Net static: remedy: {LINE}"
    ]
    assert lines_of("FAIL", **known) == []


def test_that_no_remedy_was_found_is_said():
    assert lines_of("FAIL", remedy=remedy_cells(False)) == [
        "Net static: remedy: Nothing that was tried holds the limit."
    ]


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("columns", ["40", "100", "300"])
def test_a_variant_takes_a_dozen_lines_however_much_is_known(monkeypatch, columns, count):
    monkeypatch.setenv("COLUMNS", columns)
    layers = [layer_cells(f"features.{index}", 1 / 300) for index in range(300)]
    explanation = explanation_cells(*layers, sentences=["a sentence of some words"] * 40)
    said = ["so " * 130] * 3
    others = {"slowness": slowness_cells(sentences=said), "tensors": tensors_cells(sentences=said)}
    known = dict(list(others.items())[:count])
    lines = lines_of("PASS", explanation=explanation, remedy=remedy_cells(), **known)
    assert 9 <= len(lines) <= (16 if columns == "40" else 13)  # a remedy folds there
    assert any(line.endswith("layers more") for line in lines)
    assert max(map(len, lines[1:3])) <= min(100, int(columns))


def test_of_very_many_variants_the_first_are_told():
    rows = [plain_row(f"Net {index}", remedy=remedy_cells()) for index in range(MOST_EXPLAINED + 5)]
    lines = list(explanations(Report({}, rows)))
    assert len(lines) == 2 * MOST_EXPLAINED + 1
    assert lines[-1] == "... and 5 more variants in report.json"


def test_it_comes_after_the_table_and_the_notes():
    rows = measured_rows()
    rows[1] |= {"notes": ["a note"], "explanation": explanation_cells()}
    lines = list(summary_lines(Report({}, rows), "simple"))
    at = [lines.index(line) for line in ("Net static: a note", "Net static: where it is lost")]
    assert at == sorted(at)


def test_choices_are_paragraphs_of_the_terminals_width(monkeypatch):
    given = [(f"Net {index}", "word " * 60) for index in range(10)]
    monkeypatch.setattr(terminal, "shown_choices", lambda report: given)
    monkeypatch.setenv("COLUMNS", "72")
    lines = list(choices(Report()))
    assert lines[0].startswith("Net 0: word word")
    assert all(len(line) <= 72 for line in lines)
    assert sum(line.startswith("Net") for line in lines) == terminal.MOST_CHOICES
    assert lines[-1] == "... and 2 more models in report.json"
