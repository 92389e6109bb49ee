"""Told causes: what a test said of an unmet gate is in every page of the report."""

from builders import explanation_cells, plain_row, plain_verdict

from pytest_quant.report.document import Report
from pytest_quant.report.html import html_of
from pytest_quant.report.markdown import markdown_of
from pytest_quant.report.told_causes import causes_of_rows
from pytest_quant.variant.key import RowKey

OF_TRAINING = """Training lost it, not int8: it is at 40 % of top-1.
Look at the labels of quant_train_data.
layer    type      share
-------  ------  -------
a        Conv1d     99 %

# To paste into conftest.py: quant_qat is then built so.
from pytest_quant import Recipe"""
TOLD = "Training lost it, not int8: it is at 40 % of top-1. Look at the labels of quant_train_data."


def report_of(row, *verdicts):
    return Report.from_dict(Report({}, [], []).to_dict() | {"rows": [row], "verdicts": [*verdicts]})


def test_sentences_are_told_without_tables_and_code():
    row = plain_row()
    verdict = plain_verdict(row, "FAIL", "top-1", cause=OF_TRAINING)
    found = causes_of_rows(report_of(row, verdict))
    assert found == {RowKey.of(verdict): [f"top-1 FAIL: {TOLD}"]}


def test_what_two_gates_have_in_common_is_told_once():
    row = plain_row()
    gates = [plain_verdict(row, "FAIL", gate, cause=OF_TRAINING) for gate in ("top-1", "flips")]
    other = plain_verdict(row, "FAIL", "size", cause="It holds 3 MB.")
    (told,) = causes_of_rows(report_of(row, *gates, other)).values()
    assert told == [f"top-1 FAIL: {TOLD}", "size FAIL: It holds 3 MB."]


def test_pages_have_the_cause_of_a_variant_of_which_nothing_else_is_known():
    row = plain_row()
    report = report_of(row, plain_verdict(row, "FAIL", "top-1", cause=OF_TRAINING))
    assert f"- **Net static**: top-1 FAIL: {TOLD}".replace("_", r"\_") in markdown_of(report)
    assert f"<li>top-1 FAIL: {TOLD}</li>" in html_of(report)


def test_a_page_says_no_sentence_twice():
    sentences = explanation_cells()["sentences"]
    row = plain_row(explanation=explanation_cells())
    verdict = plain_verdict(row, "FAIL", "top-1", cause="\n".join(sentences))
    page = html_of(report_of(row, verdict))
    assert page.count(sentences[0]) == 1


def test_a_cause_that_is_no_text_is_none():
    row = plain_row()
    assert causes_of_rows(report_of(row, plain_verdict(row, "FAIL"))) == {}
