"""Report: what tests and workers send, merged into one document of plain data."""

import json

import pytest
from builders import (
    measured_rows,
    metric_cells,
    plain_row,
    plain_verdict,
    planted_variant,
    right,
    toy_variant,
)

from pytest_quant.report.document import VERSION, Report, outcomes
from pytest_quant.report.rows import row_of


def report_of(*payloads):
    report = Report()
    for payload in payloads:
        report.add(payload)
    return report


def of_rows(*rows, verdicts=()):
    return report_of({"rows": rows, "verdicts": list(verdicts)})


def test_two_workers_that_measured_parts_of_one_variant_make_one_row():
    size = {"tensor_bytes": 100, "file_bytes": 120}
    one = plain_row(size=size, seconds={"convert": 1.0}, notes=["a", "b"])
    other = plain_row(metrics=[metric_cells(value=0.9)], notes=["b", "c"])
    for first, second in ((one, other), (other, one)):
        (row,) = of_rows(first, second).rows
        assert row["size"] == size
        assert row["metrics"] == other["metrics"]
        assert row["seconds"] == {"convert": 1.0}
        assert sorted(row["notes"]) == ["a", "b", "c"]
        assert row["latency"] is None


def test_what_comes_later_wins_where_it_knows():
    (row,) = of_rows(
        plain_row(metrics=[metric_cells(value=0.9)], fp32_size=7),
        plain_row(metrics=[metric_cells(value=0.8)], fp32_size=0),
    ).rows
    assert row["metrics"][0]["value"] == 0.8
    assert row["fp32_size"] == 0


def test_an_error_is_not_forgotten():
    for rows in ([{"error": "no"}, {}], [{}, {"error": "no"}]):
        (row,) = of_rows(*(plain_row(**known) for known in rows)).rows
        assert row["error"] == "no"


def test_rows_are_told_apart_by_place_model_and_variant():
    rows = [
        plain_row("Net", "static", "a"),
        plain_row("Net", "static", "b"),
        plain_row("Net", "qat", "a"),
        plain_row("Other", "static", "a"),
    ]
    assert of_rows(*rows, *rows).rows == rows


def test_rows_of_a_model_stand_together_fp32_first_then_by_kind():
    came = [
        ("B", "custom"),
        ("A", "qat"),
        ("B", "static"),
        ("A", "fp32"),
        ("B", "mine"),
        ("A", "dynamic"),
    ]
    ordered = of_rows(*(plain_row(model, variant) for model, variant in came)).ordered()
    assert [(row["model"], row["variant"]) for row in ordered] == [
        ("B", "static"),
        ("B", "custom"),
        ("B", "mine"),
        ("A", "fp32"),
        ("A", "dynamic"),
        ("A", "qat"),
    ]


def test_namesakes_are_shown_with_their_place():
    report = of_rows(
        plain_row("Net", where="vision"), plain_row("Net", where=""), plain_row("Lone", where="x")
    )
    assert report.model_names() == {
        ("vision", "Net"): "Net (vision)",
        ("", "Net"): "Net (.)",
        ("x", "Lone"): "Lone",
    }


def test_verdicts_keep_their_order_and_find_their_row():
    static, qat = plain_row(variant="static"), plain_row(variant="qat")
    verdicts = [plain_verdict(static), plain_verdict(qat), plain_verdict(static, "FAIL")]
    report = report_of({"rows": [static]}, {"rows": [qat], "verdicts": verdicts})
    assert report.verdicts == verdicts
    assert report.verdicts_on(static) == [verdicts[0], verdicts[2]]
    assert report.verdicts_on(plain_row(where="elsewhere")) == []


@pytest.mark.parametrize(
    ("given", "cell"),
    [
        ([], ""),
        ([("size", "PASS"), ("flips", "PASS")], "2 PASS"),
        ([("size", "PASS"), ("accuracy", "FAIL")], "accuracy FAIL"),
        (
            [("speed-up", "INCONCLUSIVE"), ("accuracy", "FAIL"), ("accuracy", "FAIL")],
            "speed-up INCONCLUSIVE, accuracy FAIL",
        ),
    ],
)
def test_a_cell_counts_passes_and_names_the_rest(given, cell):
    assert outcomes({"quantity": q, "outcome": o} for q, o in given) == cell


def test_the_environment_is_what_was_sent_last():
    report = report_of({"environment": {"torch": "2.13"}}, {"rows": []}, {"environment": None})
    report.add({"environment": {"engine": "x86"}})
    assert report.environment == {"torch": "2.13", "engine": "x86"}


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_json_cannot_say_become_null(number):
    row = plain_row(metrics=[metric_cells(value=number, drop=number)], seconds={"train": number})
    verdict = plain_verdict(row, observed=number, evidence={"bounds": (number, 1.0)})
    text = of_rows(row, verdicts=[verdict]).to_json()
    read = json.loads(text, parse_constant=lambda word: pytest.fail(word))
    assert read["rows"][0]["metrics"][0]["value"] is None
    assert read["rows"][0]["seconds"] == {"train": None}
    assert read["verdicts"][0]["observed"] is None
    assert read["verdicts"][0]["evidence"] == {"bounds": [None, 1.0]}


def test_json_holds_all_that_was_sent():
    rows = measured_rows()
    report = of_rows(*rows, verdicts=[plain_verdict(rows[1])])
    report.environment["torch"] = "2.15.0"
    assert json.loads(report.to_json()) == {
        "version": VERSION,
        "environment": {"torch": "2.15.0"},
        "rows": rows,
        "verdicts": [plain_verdict(rows[1])],
        "interrupted": False,
    }
    assert report.to_json().endswith("}\n")


def test_the_row_of_a_variant_is_plain_json_and_knows_what_was_measured():
    variant = planted_variant(right(90, of=100), right(83, of=100))
    assert row_of(variant)["metrics"] == []
    _ = variant.evaluation, variant.int8_share
    row = json.loads(json.dumps(row_of(variant), allow_nan=False))
    assert (row["model"], row["variant"], row["where"]) == ("planted", "static", "")
    (metric,) = row["metrics"]
    assert (metric["value"], metric["drop"], metric["flips"]) == (0.83, 0.07, 7)
    assert (metric["samples"], metric["unit"]) == (100, "fraction")
    assert (row["size"], row["latency"], row["error"]) == (None, None, None)
    (metric,) = row_of(variant.fp32)["metrics"]
    assert (metric["value"], metric["drop"], metric["flips"]) == (0.9, None, None)


def test_a_row_knows_fp32s_size_when_both_were_measured():
    variant = toy_variant("dynamic")
    _ = variant.size
    assert row_of(variant)["fp32_size"] is None
    _ = variant.fp32.size
    assert row_of(variant)["fp32_size"] == 780
