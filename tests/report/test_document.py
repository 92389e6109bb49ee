"""Report: what tests and workers send, merged into one document of plain data."""

import json

import pytest
import torch
from builders import (
    loss,
    measured_rows,
    metric_cells,
    plain_row,
    plain_test,
    plain_verdict,
    planted_variant,
    reward,
    right,
    toy_variant,
)
from hypothesis import given
from hypothesis import strategies as st

from pytest_quant.baseline.row import Row
from pytest_quant.report.document import VERSION, WORST_FIRST, Report, outcomes
from pytest_quant.report.rows import row_of
from pytest_quant.variant.key import ModelKey


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
        row = of_rows(first, second).rows[0].to_dict()
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
    assert row.metrics[0].value == 0.8
    assert row.fp32_size == 0


def test_an_error_is_not_forgotten():
    for rows in ([{"error": "no"}, {}], [{}, {"error": "no"}]):
        (row,) = of_rows(*(plain_row(**known) for known in rows)).rows
        assert row.error == "no"


def test_rows_are_told_apart_by_place_model_and_variant():
    rows = [
        plain_row("Net", "static", "a"),
        plain_row("Net", "qat", "a"),
        plain_row("Net", "static", "b"),
        plain_row("Other", "static", "a"),
    ]
    assert [row.to_dict() for row in of_rows(*rows, *rows).rows] == rows


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
    assert [(row.model, row.variant) for row in ordered] == [
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
        ModelKey("vision", "Net"): "Net (vision)",
        ModelKey("", "Net"): "Net",
        ModelKey("x", "Lone"): "Lone",
    }


def test_verdicts_keep_their_order_and_find_their_row():
    static, qat = plain_row(variant="static"), plain_row(variant="qat")
    verdicts = [plain_verdict(static), plain_verdict(qat), plain_verdict(static, "FAIL")]
    report = report_of({"rows": [static]}, {"rows": [qat], "verdicts": verdicts})
    assert report.verdicts == verdicts
    assert report.verdicts_on(Row.from_dict(static)) == [verdicts[0], verdicts[2]]
    assert report.verdicts_on(Row.from_dict(plain_row(where="elsewhere"))) == []


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
    report.add_test(plain_test(rows[1]))
    report.created = "2026-11-21T10:18:33+00:00"
    read = json.loads(report.to_json())
    assert read["version"] == VERSION
    assert read["environment"] == {"torch": "2.15.0"}
    assert (read["rows"], read["verdicts"]) == (rows, [plain_verdict(rows[1])])
    assert (read["tests"], read["interrupted"]) == ([plain_test(rows[1])], False)
    assert read["created"] == "2026-11-21T10:18:33+00:00"
    assert read["may_ship"]["answer"] == "yes"
    assert [each["model"] for each in read["may_ship"]["models"]] == ["Net"]
    assert report.to_json().endswith("}\n")


ENDINGS = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(WORST_FIRST)), max_size=8)


@given(ENDINGS, st.randoms())
def test_of_all_that_a_test_says_the_worst_counts_in_any_order(endings, random):
    row, reports = plain_row(), []
    for _ in range(2):
        report = Report()
        for nodeid, outcome in endings:
            report.add_test(plain_test(row, outcome, nodeid=nodeid))
        reports.append({test["nodeid"]: test["outcome"] for test in report.tests})
        random.shuffle(endings)
    worst = {
        nodeid: min((o for n, o in endings if n == nodeid), key=WORST_FIRST.index)
        for nodeid, _ in endings
    }
    assert reports == [worst, worst]


def test_a_test_is_of_all_the_variants_that_any_of_its_phases_names():
    report = Report()
    for variant in ("static", "qat", "static"):
        report.add_test(plain_test(plain_row(variant=variant)))
    (test,) = report.tests
    assert [each["variant"] for each in test["variants"]] == ["static", "qat"]


def test_the_metric_is_known_by_class_where_targets_are_classes():
    labels = torch.tensor([0, 0, 1, 1, 1, 7])
    fp32, own = [1, 1, 1, 1, 0, 0], [1, 0, 1, 1, 1, 0]
    variant = planted_variant(fp32, own, targets=labels)
    _ = variant.evaluation
    (metric,) = row_of(variant).to_dict()["metrics"]
    assert metric["classes"] == [
        {"label": 0, "samples": 2, "value": 0.5, "drop": 0.5},
        {"label": 1, "samples": 3, "value": 1.0, "drop": pytest.approx(-1 / 3)},
        {"label": 7, "samples": 1, "value": 0.0, "drop": 0.0},
    ]
    (metric,) = row_of(variant.fp32).to_dict()["metrics"]
    assert [each["drop"] for each in metric["classes"]] == [None] * 3
    assert metric["classes"][1]["value"] == pytest.approx(2 / 3)


def test_classes_of_a_loss_drop_when_it_rises():
    variant = planted_variant([0.5, 2.0], [1.5, 1.0], metric=loss(), targets=torch.tensor([3, 4]))
    _ = variant.evaluation
    drops = [each["drop"] for each in row_of(variant).to_dict()["metrics"][0]["classes"]]
    assert drops == pytest.approx([1.0, -1.0])


def test_of_too_many_classes_those_are_kept_that_drop_most(monkeypatch):
    monkeypatch.setattr("pytest_quant.report.rows.MOST_CLASSES", 2)
    variant = planted_variant([1, 1, 1, 0], [1, 0, 0, 1], targets=torch.tensor([5, 6, 7, 8]))
    _ = variant.evaluation
    assert [each["label"] for each in row_of(variant).to_dict()["metrics"][0]["classes"]] == [6, 7]


@pytest.mark.parametrize(
    ("metric", "targets"),
    [
        (reward(), torch.zeros(4, dtype=torch.float32)),
        (reward(whole=True), torch.zeros(4, dtype=torch.long)),
    ],
)
def test_there_are_no_classes_without_class_numbers_or_scores_of_samples(metric, targets):
    variant = planted_variant([1, 1, 1, 0], [1, 0, 0, 1], metric=metric, targets=targets)
    _ = variant.evaluation
    assert row_of(variant).to_dict()["metrics"][0]["classes"] is None


def test_the_row_of_a_variant_is_plain_json_and_knows_what_was_measured():
    variant = planted_variant(right(90, of=100), right(83, of=100))
    assert row_of(variant).to_dict()["metrics"] == []
    _ = variant.evaluation, variant.int8_share
    row = json.loads(json.dumps(row_of(variant).to_dict(), allow_nan=False))
    assert (row["model"], row["variant"], row["where"]) == ("planted", "static", "")
    (metric,) = row["metrics"]
    assert (metric["value"], metric["drop"], metric["flips"]) == (0.83, 0.07, 7)
    assert (metric["samples"], metric["unit"]) == (100, "fraction")
    assert (row["size"], row["latency"], row["error"]) == (None, None, None)
    (metric,) = row_of(variant.fp32).to_dict()["metrics"]
    assert (metric["value"], metric["drop"], metric["flips"]) == (0.9, None, None)


@pytest.mark.parametrize("unit", ["raw", "perplexity"])
def test_a_loss_is_told_in_its_own_unit_without_flips(unit):
    variant = planted_variant([1.0, 2.0], [1.5, 2.0], metric=loss("mine", unit))
    _ = variant.evaluation
    (metric,) = row_of(variant).to_dict()["metrics"]
    assert (metric["unit"], metric["flips"], metric["flipped"]) == (unit, None, None)
    notes = row_of(variant.fp32).to_dict()["notes"]
    assert "the eval set is small (2 samples)" in notes


def test_a_row_knows_fp32s_size_when_both_were_measured():
    variant = toy_variant("dynamic")
    _ = variant.size
    assert row_of(variant).fp32_size is None
    _ = variant.fp32.size
    assert row_of(variant).fp32_size == 780
