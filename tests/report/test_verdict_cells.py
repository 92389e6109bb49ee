"""A verdict's limit, observed value and evidence in words."""

import pytest
from builders import measured_rows, metric_cells, plain_row, plain_test, plain_verdict

from pytest_quant.report.document import Report
from pytest_quant.report.verdict_cells import gates_of


def gate(gate="max_size_ratio", unit="fraction", outcome="PASS", **known):
    row = plain_row(metrics=[metric_cells("m", unit=unit)])
    verdict = plain_verdict(row, outcome, gate=gate, **known)
    return gates_of(Report({}, [row], [verdict]))[0]


@pytest.mark.parametrize(
    ("name", "unit", "metric", "limit", "observed", "shown"),
    [
        ("max_size_ratio", "raw", None, 0.3, 0.25143, ("≤ 0.3 of FP32", "0.2514 of FP32")),
        ("max_size_mb", "raw", None, 5, 4.60462, ("≤ 5 MB", "4.605 MB")),
        ("min_speedup", "raw", None, 1.5, 6.0938, ("≥ 1.5x", "6.094x")),
        ("min_int8_share", "raw", None, 0.9, 0.99948, ("≥ 90 %", "99.95 %")),
        ("max_flips", "raw", None, 0.02, 0.0222, ("≤ 2 %", "2.22 %")),
        ("max_accuracy_drop", "fraction", "m", 0.01, -0.0037037, ("≤ 1 pt", "-0.3704 pt")),
        ("max_accuracy_drop", "fraction", "m", 0.01, 0.010001, ("≤ 1 pt", "1 pt")),
        ("max_accuracy_drop", "raw", "m", 0.1, 0.25, ("≤ 0.1", "0.25")),
        ("max_accuracy_drop", "perplexity", "m", 0.02, 0.01, ("≤ 2 % of FP32's", "1 % of FP32's")),
        ("a_later_gate", "raw", None, 3, None, ("3", "-")),
        ("max_flips", "raw", None, float("nan"), float("inf"), ("≤ -", "-")),
    ],
)
def test_limit_and_observed_value_come_in_the_gates_unit(
    name, unit, metric, limit, observed, shown
):
    made = gate(name, unit, limit=limit, observed=observed, metric=metric)
    assert (made.limit, made.observed) == shown


def test_a_relative_limit_is_a_share_of_fp32():
    made = gate(
        "max_accuracy_drop", metric="m", limit=0.01, observed=0.02, evidence={"relative": True}
    )
    assert (made.limit, made.observed) == ("≤ 1 % of FP32's", "2 % of FP32's")


@pytest.mark.parametrize(
    ("evidence", "shown"),
    [
        (
            {
                "samples": 540,
                "fp32": 0.987037,
                "variant": 0.990741,
                "flips": 12,
                "scope": "dataset",
            },
            "98.70 % → 99.07 %, 540 samples, 12 flipped",
        ),
        ({"samples": 2186, "of": 50000, "certain": True}, "2,186 of 50,000 samples"),
        (
            {"rounds": 13, "interval_95": [5.9527, 6.1894], "ms": 3.7463, "fp32_ms": 22.839},
            "95 % interval 5.95 to 6.19, 13 rounds, 3.746 ms against 22.84 ms",
        ),
        ({"bytes": 4_604_624, "fp32_bytes": 18_312_768}, "4.60 MB of 18.31 MB"),
        ({"stayed_fp32": ["a", "b", "c", "d", "e"]}, "stayed FP32: a, b, c, d, ..."),
        ({"rounds": 13, "interval_95": None, "ms": None}, "13 rounds"),
        ({}, "so it is"),
        ({"reason": "refused"}, "so it is"),
    ],
)
def test_a_pass_shows_what_it_stands_on(evidence, shown):
    assert gate("max_accuracy_drop", metric="m", evidence=evidence).evidence == shown


def test_a_perplexity_is_kept_as_its_logarithm_and_shown_as_what_it_is():
    evidence = {"fp32": 2.302585, "variant": 2.995732}
    assert (
        gate("max_accuracy_drop", "perplexity", metric="m", evidence=evidence).evidence == "10 → 20"
    )


@pytest.mark.parametrize("outcome", ["FAIL", "INCONCLUSIVE"])
def test_what_did_not_pass_shows_its_sentence(outcome):
    made = gate(outcome=outcome, evidence={"bytes": 1, "fp32_bytes": 2})
    assert made.evidence == "so it is"


def test_what_did_not_pass_comes_first_what_was_expected_last_among_it():
    fp32, static = measured_rows()
    outcomes = ("PASS", "FAIL", "INCONCLUSIVE", "FAIL", "PASS")
    verdicts = [plain_verdict(static, o, test=f"test_{k}") for k, o in enumerate(outcomes)]
    tests = [
        plain_test(static, "xfailed", nodeid="test_1"),
        plain_test(static, "failed", nodeid="test_3"),
    ]
    made = gates_of(Report({}, [fp32, static], verdicts, tests=tests))
    assert [(each.test[-1], each.expected) for each in made] == [
        ("3", False),
        ("1", True),
        ("2", False),
        ("0", False),
        ("4", False),
    ]
