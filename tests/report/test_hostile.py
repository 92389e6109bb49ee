"""Hostile names and values, and ten thousand rows, through every format."""

import csv
import io
import json
import re

import pytest
from builders import explanation_cells, measured_rows, plain_row, plain_verdict
from hostile import HOSTILE, hostile_report
from tabulate import tabulate_formats

from pytest_quant.report.document import Report
from pytest_quant.report.files import write_report
from pytest_quant.report.markdown import markdown_of
from pytest_quant.report.schema import faults, schema
from pytest_quant.report.spreadsheet import spreadsheet_of
from pytest_quant.report.terminal import answer_line, summary_lines


@pytest.fixture(scope="module")
def report():
    return hostile_report()


def test_every_file_is_written(report, tmp_path):
    paths = write_report(report, tmp_path)
    assert len(paths) == 4
    for path in paths:
        assert "\x1b" not in path.read_text(encoding="utf-8")


def test_json_is_json_and_keeps_to_the_schema(report):
    read = json.loads(report.to_json(), parse_constant=pytest.fail)
    assert list(faults(read, schema(), "report")) == []
    assert {row["model"] for row in read["rows"]} == set(HOSTILE)
    assert Report.from_dict(read).to_dict() == read


@pytest.mark.parametrize("format", tabulate_formats)
def test_the_terminal_gets_one_line_for_each_and_no_control(report, format):
    lines = [*summary_lines(report, format), answer_line(report)]
    for line in lines:
        assert not {"\x1b", "\x07", "\x00", "\u202e", "\n", "\r"} & set(line)
        assert line.encode("utf-8") is not None


@pytest.mark.parametrize("format", ["pipe", "github"])
def test_a_table_for_markdown_has_as_many_bars_in_each_line(report, format):
    lines = [line for line in summary_lines(report, format) if line.startswith("|")]
    assert len(lines) == 2 + 2 * len(HOSTILE)
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


def without_code(text):
    """A page without what is in fences, as Markdown finds their ends."""
    return re.sub(r"^(`{3,})python\n.*\n\1$", "", text, flags=re.M)


def test_markdown_has_no_html_formula_or_heading_of_theirs(report):
    text = markdown_of(report)
    assert len(text.splitlines()) < 60
    text = without_code(text)
    assert "<" not in text
    assert "$" not in text
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings == [
        "# Quantization report", "## Gates", "## Causes and remedies", "## Notes",
    ]  # fmt: skip
    assert len(text.encode("utf-8")) < 60_000


def test_a_spreadsheet_has_the_same_cells_in_each_line_and_no_formula(report):
    lines = list(csv.reader(io.StringIO(spreadsheet_of(report))))
    assert len({len(line) for line in lines}) == 1
    for line in lines[1:]:
        for name in line[:3]:
            assert not name.startswith(("=", "+", "-", "@", "\t"))


@pytest.mark.slow
def test_ten_thousand_rows_are_written(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "240")
    rows = [row for index in range(5000) for row in measured_rows(f"Net {index}")]
    for row in rows[1::2]:
        row |= {"recipe": {"kind": "static"}, "explanation": explanation_cells()}
    verdicts = [plain_verdict(row) for row in rows]
    verdicts.append(plain_verdict(plain_row("Net 4999"), "FAIL"))
    report = Report({}, rows, verdicts)
    texts = {
        path.suffix: path.read_text(encoding="utf-8") for path in write_report(report, tmp_path)
    }
    assert set(texts) == {".csv", ".html", ".json", ".md"}
    assert all("Net 4999" in text for text in texts.values())
    assert len(texts[".md"].splitlines()) < 60
    assert len(texts[".html"]) < 2_000_000
    assert 10_002 < len(list(summary_lines(report, "simple"))) < 10_300
