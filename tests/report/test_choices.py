"""Choices: one paragraph for each model, worked out anew from rows and verdicts wherever it is shown."""

from builders import measured_rows, plain_row, plain_verdict, work_cells

from pytest_quant.report.choices import choices_of, shown_choices
from pytest_quant.report.document import Report


def quantized_rows(model="Net", where=""):
    rows = measured_rows(model, where)
    rows[0]["work"], rows[1]["recipe"] = work_cells(), {"kind": "static"}
    return rows


def test_each_model_with_a_measured_kind_has_its_own():
    rows = [*quantized_rows("A"), *quantized_rows("B"), plain_row("C")]
    found = choices_of(Report({}, rows))
    assert [(each["where"], each["model"]) for each in found] == [("", "A"), ("", "B")]
    assert all("static" in each["text"] for each in found)


def test_verdicts_go_to_their_own_model():
    rows = [*quantized_rows("A"), *quantized_rows("B")]
    held, failed = choices_of(Report({}, rows, [plain_verdict(rows[3], "FAIL")]))
    assert held["text"] == choices_of(Report({}, rows))[0]["text"]
    assert failed["text"] != choices_of(Report({}, rows))[1]["text"]


def test_namesakes_are_shown_with_their_place_and_no_name_twice():
    report = Report({}, [*quantized_rows(where="a"), *quantized_rows(where="b")])
    shown = shown_choices(report)
    assert [name for name, _ in shown] == ["Net (a)", "Net (b)"]
    assert not any(text.startswith("Net") for _, text in shown)
    assert shown[0][1][0].isupper()


def test_a_report_that_is_read_again_or_merged_says_what_now_holds():
    report = Report({}, quantized_rows())
    document = report.to_dict()
    (stored,) = document["choices"]
    read = Report.from_dict(document)
    assert read.to_dict()["choices"] == [stored]
    read.add({"verdicts": [plain_verdict(report.rows[1], "FAIL")]})
    (now,) = read.to_dict()["choices"]
    assert now["text"] != stored["text"]


def test_of_nothing_there_is_nothing_to_choose():
    assert choices_of(Report()) == choices_of(Report({}, [plain_row(variant="fp32")])) == []
