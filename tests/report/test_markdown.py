"""Markdown: the report as a page, in which every text stays text."""

import pytest
from builders import (
    explanation_cells,
    measured_rows,
    metric_cells,
    plain_row,
    plain_test,
    plain_verdict,
    remedy_cells,
    slowness_cells,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_quant.report.document import Report
from pytest_quant.report.markdown import markdown_of

ENVIRONMENT = {
    "torch": "2.15.0",
    "engine": "x86",
    "threads": 2,
    "cpu": "Some_CPU <4 GHz>",
    "isa": "AVX2",
    "vnni": False,
    "workers": 1,
}


def page(*rows, verdicts=(), tests=(), environment=None):
    return markdown_of(Report(environment or {}, list(rows), list(verdicts), tests=list(tests)))


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
    lines = page(row, verdicts=[verdict]).splitlines()
    assert "- Net: size FAIL: 1 &lt; 2 # so" in lines
    assert "| ❌ | Net | static | size | ≤ 0.3 of FP32 | 0.25 of FP32 | 1 &lt; 2 # so |" in lines
    assert "- Net static: cannot trace &lt;script&gt;" in lines
    assert r"- Net static: see \|x\| - \[ \] done" in lines


def test_a_name_at_the_start_of_a_line_makes_no_heading_or_list():
    text = page(plain_row("# Title", notes=["so"]), plain_row("- item"), plain_row("> quoted"))
    assert r"- \# Title static: so" in text
    assert not any(line.startswith(("- # ", "- - ", "- > ")) for line in text.splitlines())


@pytest.mark.parametrize(
    ("outcome", "mark"), [("PASS", "✅"), ("FAIL", "❌"), ("INCONCLUSIVE", "❔")]
)
def test_each_verdict_is_a_line_with_its_mark_limit_observed_value_and_evidence(outcome, mark):
    row = plain_row()
    text = page(row, verdicts=[plain_verdict(row, outcome)])
    line = f"| {mark} | Net | static | size | ≤ 0.3 of FP32 | 0.25 of FP32 | so it is |"
    assert line in text.splitlines()


def test_a_fail_that_a_test_expected_says_so():
    row = plain_row()
    verdict = plain_verdict(row, "FAIL")
    text = page(row, verdicts=[verdict], tests=[plain_test(row, "xfailed")])
    assert "| ❌ expected | Net | static |" in text
    assert "- expected by its test: Net: size FAIL: so it is" in text


def test_the_answer_is_on_top_and_then_why():
    rows = measured_rows()
    lines = page(*rows, verdicts=[plain_verdict(rows[1])], environment=ENVIRONMENT).splitlines()
    assert lines[:8] == [
        "# Quantization report",
        "",
        "**May ship: yes** ✅",
        "",
        "- Net: its one gate holds (static)",
        "",
        r"torch 2.15.0, engine x86, 2 threads, Some\_CPU &lt;4 GHz&gt;, AVX2, no VNNI",
        "",
    ]
    assert lines[8].startswith("| model")
    assert lines[9].startswith("|:---")
    assert "## Notes" not in lines


def test_a_page_of_nothing_is_a_page():
    lines = page().splitlines()
    assert lines[2] == "**May ship: undecided** ❔"
    assert lines[4] == "- no gate has judged a quantized variant"


@settings(max_examples=60, deadline=None)
@given(*[st.sampled_from([0, 1, 2, 7, 30, 500])] * 4)
def test_a_page_is_under_60_lines_whatever_comes(models, verdicts, notes, failures):
    rows = [
        plain_row(f"Net {index}", notes=["a note"] * (notes // 9 + 1)) for index in range(models)
    ]
    rows += [plain_row(notes=["more"] * notes)]
    given = [plain_verdict(rows[index % len(rows)]) for index in range(verdicts)]
    given += [
        plain_verdict(rows[-1], "FAIL", sentence=f"size FAIL: {index}") for index in range(failures)
    ]
    for row in rows[::2]:
        row["recipe"], row["size"] = {"kind": "static"}, {"tensor_bytes": 7, "file_bytes": None}
        row |= {"explanation": explanation_cells(), "remedy": remedy_cells()}
    text = page(*rows, verdicts=given, environment=ENVIRONMENT)
    assert len(text.splitlines()) < 60
    if failures and rows[-1]["remedy"]:
        assert remedy_cells()["line"] in text.splitlines()
    assert text.count("## Gates") == bool(given)


def test_what_is_cut_is_counted_and_failures_come_first():
    rows = [plain_row(f"Net {index}") for index in range(100)]
    verdicts = [plain_verdict(row) for row in rows]
    verdicts[90] = plain_verdict(rows[90], "FAIL")
    text = page(*rows, verdicts=verdicts)
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    for table in tables:
        shown = len(table) - 2
        assert "Net 90" in table[2]
        assert 10 < shown < 25
        assert f"\n\n... and {100 - shown} more in report.json\n" in text


def test_a_report_that_fits_is_not_cut():
    rows = [*measured_rows("A"), *measured_rows("B"), *measured_rows("C"), *measured_rows("D")]
    verdicts = [plain_verdict(row) for row in rows for _ in range(2)]
    assert "more in report.json" not in page(*rows, verdicts=verdicts)


def test_a_failed_variant_has_its_cause_worst_layers_and_remedy():
    row = plain_row(explanation=explanation_cells(), remedy=remedy_cells())
    lines = page(row, verdicts=[plain_verdict(row, "FAIL")]).splitlines()
    at = lines.index("## Causes and remedies")
    assert lines[at + 1 : at + 8] == [
        "",
        "- **Net static**: features.0 makes 72 % of the noise in the outputs (depthwise, per-tensor). "
        "Rounding the weights costs most (weights alone 14 dB, activations alone 33 dB).",
        "- worst layers: features.0 (Conv2d, 72 % of the noise, 14.2 dB, depthwise, per-tensor); "
        "classifier (Conv2d, 20 % of the noise, 26.5 dB, saturates 2.1 % of activations); "
        "features.3 (Conv2d, 8 % of the noise, 31.0 dB)",
        "",
        "```python",
        remedy_cells()["line"],
        "```",
    ]


def test_a_variant_that_did_not_fail_has_no_cause():
    row = plain_row(explanation=explanation_cells(), remedy=remedy_cells())
    assert "## Causes" not in page(row, verdicts=[plain_verdict(row)])


def test_a_slow_variant_without_a_remedy_says_both():
    row = plain_row(slowness=slowness_cells(), remedy=remedy_cells(False))
    text = page(row, verdicts=[plain_verdict(row, "FAIL")])
    assert "- **Net static**: 4 conversions take 21 % of the time.\n" in text
    assert "- remedy: Nothing that was tried holds the limit.\n" in text
    assert "```" not in text


def test_a_remedy_cannot_break_out_of_its_fence():
    bad = "```\n# Title\n````` <b>"
    row = plain_row(remedy=remedy_cells(line=bad))
    lines = page(row, verdicts=[plain_verdict(row, "FAIL")]).splitlines()
    fence = "`" * 6
    at = lines.index(f"{fence}python")
    assert lines[at + 1 : at + 3] == ["``` # Title ````` <b>", fence]


def test_of_many_failures_some_causes_are_shown_and_the_rest_is_counted():
    rows = [plain_row(f"Net {index}", explanation=explanation_cells()) for index in range(30)]
    text = page(*rows, verdicts=[plain_verdict(row, "FAIL") for row in rows])
    shown = text.count("- worst layers: ")
    assert 1 <= shown < 30
    assert f"\n... and {30 - shown} more in report.json\n" in text


def test_which_kind_to_choose_is_a_line_for_each_model():
    rows = measured_rows()
    rows[1]["recipe"] = {"kind": "static"}
    lines = page(*rows).splitlines()
    at = lines.index("## Which kind to choose")
    assert lines[at + 2].startswith("- Net: ")
    assert "static" in lines[at + 2]


def test_the_first_ten_rows_are_all_in_the_table_however_much_else_there_is():
    rows = [plain_row(f"Net{index}", notes=["a note", "another"]) for index in range(10)]
    verdicts = [plain_verdict(rows[index % 10]) for index in range(60)]
    text = page(*rows, verdicts=verdicts, environment=ENVIRONMENT)
    assert len(text.splitlines()) < 60
    assert all(f"| Net{index} " in text.split("## Gates")[0] for index in range(10))
