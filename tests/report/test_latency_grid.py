"""Latency grid: the same cells in the terminal, in Markdown, HTML and JSON."""

import json

import pytest
from builders import plain_row

from pytest_quant.report.document import Report
from pytest_quant.report.html import html_of
from pytest_quant.report.latency_grid import grid_of
from pytest_quant.report.markdown import MOST_LINES, markdown_of
from pytest_quant.report.terminal import summary_lines


def cell(threads=1, batch=1, **known):
    return {
        "threads": threads, "batch": batch, "ms": 0.5, "fp32_ms": 1.0, "speedup": 2.0,
        "interval_95": [1.98, 2.04], "rounds": 8, **known,
    }  # fmt: skip


@pytest.fixture
def report():
    cells = [cell(), cell(1, 32, ms=10.123, interval_95=None), cell(2, 1, ms=None)]
    return Report({}, [plain_row(variant="fp32"), plain_row(grid=cells), plain_row(variant="qat")])


def test_each_cell_is_a_line_within_100_columns(report, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    lines = grid_of(report, "simple").splitlines()
    assert [line.split() for line in lines if not line.startswith("-")] == [
        [
            "model",
            "variant",
            "threads",
            "batch",
            "FP32",
            "ms/batch",
            "ms/batch",
            "speed-up",
            "[95",
            "%]",
        ],
        ["Net", "static", "1", "1", "1", "0.5", "2.00x", "[1.98,", "2.04]"],
        ["Net", "static", "1", "32", "1", "10.12", "2.00x"],
        ["Net", "static", "2", "1", "1", "-", "2.00x", "[1.98,", "2.04]"],
    ]
    assert max(map(len, lines)) <= 100
    assert "\n".join(lines) in "\n".join(summary_lines(report, "simple"))


def test_without_a_grid_there_is_no_table():
    plain = Report({}, [plain_row()])
    assert grid_of(plain, "simple") == ""
    assert "Latency by threads" not in markdown_of(plain) + html_of(plain, lambda report: [])
    assert "" not in list(summary_lines(plain, "simple"))


def test_it_is_in_markdown_html_and_json(report):
    rows = [line for line in markdown_of(report).splitlines() if line.startswith("| Net")]
    assert [part.strip() for part in rows[3].strip("|").split("|")] == [
        "Net", "static", "1", "1", "1", "0.5", "2.00x [1.98, 2.04]",
    ]  # fmt: skip
    page = html_of(report, lambda report: [])
    assert page.count("Latency by threads and batch</h2>") == 1
    assert '<td class="number">2.00x [1.98, 2.04]</td>' in page
    read = Report.from_json(report.to_json())
    assert read.rows == report.rows
    assert json.loads(report.to_json())["rows"][1]["grid"][0]["interval_95"] == [1.98, 2.04]


def test_a_large_grid_leaves_the_page_short_and_says_how_much_it_left_out():
    text = markdown_of(Report({}, [plain_row(grid=[cell(1, n) for n in range(1, 200)])]))
    assert len(text.splitlines()) <= MOST_LINES
    assert " more in report.json" in text


def test_a_models_name_stays_text():
    bad = "Net|<i>"
    text = markdown_of(Report({}, [plain_row(bad, grid=[cell()])]))
    assert "<i>" not in text
    assert "<i>" not in html_of(Report({}, [plain_row(bad, grid=[cell()])]), lambda report: [])


def test_cells_of_two_workers_stand_in_one_row():
    known, later = (Report({}, [plain_row(grid=[each])]).rows[0] for each in (cell(1), cell(2)))
    assert [each.threads for each in known.joined(later).grid] == [1, 2]
