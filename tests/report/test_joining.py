"""Joining: what two workers have measured under one name makes one row only if it is of one thing."""

import itertools

import pytest
from builders import latency_cells, metric_cells, plain_row, plain_test, plain_verdict

from pytest_quant.report.document import Report
from pytest_quant.report.ship import may_ship

EVAL_SET = {"fingerprint": "aa", "samples": 200}


def measured(variant="static", digest="d1", value=0.9, bytes=100, **known):
    return plain_row(
        variant=variant,
        **{
            "fp32_digest": digest,
            "eval_set": EVAL_SET,
            "metrics": [metric_cells(value=value)],
            "size": {"tensor_bytes": bytes, "file_bytes": None},
            "recipe": {"kind": "static"},
        }
        | known,
    )


def report_of(*rows):
    """Of rows that come one by one, each judged by a test that passed."""
    report = Report()
    for index, row in enumerate(rows):
        verdict = plain_verdict(row, test=f"t{index}") | {"ended": "passed"}
        report.add({"rows": [row], "verdicts": [verdict]})
        report.add_test(plain_test(row, nodeid=f"t{index}"))
    return report


def in_any_order(*rows):
    """The rows, the answer and its reasons, which are the same in every order."""
    found = []
    for order in itertools.permutations(rows):
        report = report_of(*order)
        ship = may_ship(report)
        found.append((report.rows, str(ship.answer), sorted(ship.why)))
    assert all(each == found[0] for each in found)
    return found[0]


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"digest": "d2", "value": 0.8, "bytes": 90}, "FP32's weights"),
        ({"eval_set": EVAL_SET | {"fingerprint": "bb"}, "value": 0.8}, "quant_eval_data"),
        ({"recipe": {"kind": "static", "engine": "onednn"}}, "recipe of static"),
        ({"value": 0.8}, "top-1 of static"),
        ({"metrics": [metric_cells(unit="raw", value=0.9)]}, "top-1 of static"),
        ({"bytes": 90}, "size of static"),
        ({"int8_share": {"parameters": 0.1, "macs": None, "stayed_fp32": []}}, "int8 share of static"),
    ],
)  # fmt: skip
def test_what_differs_leaves_the_answer_undecided_and_the_row_is_of_one(other, what):
    share = {"parameters": 0.9, "macs": None, "stayed_fp32": []}
    one, two = measured(int8_share=share), measured(**{"int8_share": share} | other)
    (row,), answer, why = in_any_order(one, two)
    assert row.to_dict() in (one, two)
    assert answer == "undecided"
    assert why[0].startswith(f"Net: not the same in all tests: {what}. ")
    assert len(why) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"latency": latency_cells(3.0)},
        {"digest": None, "eval_set": None, "recipe": None},
        {"metrics": [metric_cells(value=0.5, samples=50, of=200)], "eval_set": None},
        {"metrics": [metric_cells("loss", 0.5, unit="raw")]},
        {"value": None},
    ],
)
def test_what_only_one_knows_or_is_never_the_same_twice_is_no_difference(other):
    report = report_of(measured(latency=latency_cells()), measured(**other))
    assert report.mixed == []
    assert may_ship(report).answer == "yes"


def test_not_a_number_is_the_same_as_itself():
    report = report_of(measured(value=float("nan")), measured(value=float("nan")))
    assert report.mixed == []


def test_rows_of_one_fp32_are_taken_together():
    both = [measured(variant, digest) for variant in ("fp32", "static") for digest in ("d1", "d2")]
    rows, answer, _ = in_any_order(*both)
    assert {row.fp32_digest for row in rows} == {"d1"}
    assert answer == "undecided"


def test_an_error_of_the_row_that_is_left_out_is_kept():
    rows, answer, _ = in_any_order(measured(), measured(digest="d2", error="evaluate ERROR: no"))
    assert [row.error for row in rows] == ["evaluate ERROR: no"]
    assert answer == "undecided"  # the test that raised it is a no of its own


def test_another_models_answer_stays():
    report = report_of(measured(), measured(digest="d2"))
    own = plain_row("Own")
    report.add({"rows": [own], "verdicts": [plain_verdict(own, test="own") | {"ended": "passed"}]})
    report.add_test(plain_test(own, nodeid="own"))
    answers = {each["model"]: each["answer"] for each in report.to_dict()["may_ship"]["models"]}
    assert answers == {"Net": "undecided", "Own": "yes"}
    assert Report.from_dict(report.to_dict()) == report
