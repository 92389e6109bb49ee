"""Markdown: the report as a page, in which every text stays text."""

import pytest
from builders import measured_rows, metric_cells, plain_row, plain_verdict

from pytest_quant.report.document import Report
from pytest_quant.report.markdown import escaped, markdown_of

ENVIRONMENT = {
    "torch": "2.15.0",
    "engine": "x86",
    "threads": 2,
    "cpu": "Some_CPU <4 GHz>",
    "isa": "AVX2",
    "vnni": False,
    "workers": 1,
}


def page(*rows, verdicts=(), environment=None):
    return markdown_of(Report(environment or {}, list(rows), list(verdicts)))


def cells_of(line):
    """The cells of a table's line, split as Markdown does: at bars that are not escaped."""
    cells, escape = [""], False
    for sign in line.strip().strip("|") if not line.endswith("\\|") else line:
        if sign == "|" and not escape:
            cells.append("")
        else:
            cells[-1] += sign
        escape = sign == "\\" and not escape
    return [cell.strip() for cell in cells]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b", r"a\|b"),
        ("<b>", "&lt;b&gt;"),
        ("a & b", "a &amp; b"),
        ("&lt;", "&amp;lt;"),
        ("one\ntwo\r\n\tthree", "one two three"),
        ("layer_1 * [x](y) `z`", r"layer\_1 \* \[x\](y) \`z\`"),
        (r"a\|b", r"a\\\|b"),
        ("plain", "plain"),
        ("", ""),
    ],
)
def test_a_text_stays_text(text, shown):
    assert escaped(text) == shown


def test_names_cannot_break_the_table_or_bring_html():
    bad = "Net|<img src=x onerror=alert(1)>\n# Title"
    text = page(plain_row(bad, "a|b\nc", metrics=[metric_cells("top-1"), metric_cells("m|<i>\n|")]))
    assert "<" not in text
    assert "# Title" not in text.splitlines()
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 2  # head, rule, two metrics
    assert len({len(cells_of(line)) for line in table}) == 1
    assert cells_of(table[2])[:2] == [
        r"Net\|&lt;img src=x onerror=alert(1)&gt; # Title",
        r"a\|b c",
    ]


def test_sentences_and_notes_cannot_break_out_of_their_line():
    row = plain_row(error="cannot trace\n<script>", notes=["see |x|\n- [ ] done"])
    verdict = plain_verdict(row, "FAIL", sentence="size FAIL: 1 < 2\n\n# so")
    text = page(row, verdicts=[verdict])
    assert "- ❌ size FAIL: 1 &lt; 2 # so" in text.splitlines()
    assert "- Net static: cannot trace &lt;script&gt;" in text.splitlines()
    assert r"- Net static: see \|x\| - \[ \] done" in text.splitlines()


@pytest.mark.parametrize(
    ("outcome", "mark"), [("PASS", "✅"), ("FAIL", "❌"), ("INCONCLUSIVE", "❔")]
)
def test_each_verdict_is_a_line_with_its_mark(outcome, mark):
    row = plain_row()
    assert f"- {mark} size {outcome}: so it is\n" in page(
        row, verdicts=[plain_verdict(row, outcome)]
    )


def test_a_page_has_a_title_what_it_was_measured_with_and_the_table():
    lines = page(*measured_rows(), environment=ENVIRONMENT).splitlines()
    assert lines[:3] == [
        "# Quantization report",
        "",
        r"torch 2.15.0, engine x86, 2 threads, Some\_CPU &lt;4 GHz&gt;, AVX2, no VNNI",
    ]
    assert lines[4].startswith("| model")
    assert lines[5].startswith("|:---")
    assert "Notes:" not in lines


def test_a_page_of_nothing_is_a_page():
    assert page().startswith("# Quantization report\n")
