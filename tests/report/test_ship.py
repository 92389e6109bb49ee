"""May it ship? Read off how the tests ended: yes, no, or undecided, and why."""

import pytest
from builders import measured_rows, plain_row, plain_test, plain_verdict

from pytest_quant.report.document import Report
from pytest_quant.report.part_of_tests import STOPPED
from pytest_quant.report.ship import NONE_HOLDS, NOTHING, may_ship, may_ship_each

STATIC = plain_row()


def answer(verdicts=(), tests=(), rows=(STATIC,), **known):
    ship = may_ship(Report({}, list(rows), list(verdicts), tests=list(tests), **known))
    return str(ship.answer), list(ship.why)


def test_yes_when_every_gate_holds():
    fp32, static = measured_rows()
    verdicts = [plain_verdict(fp32), plain_verdict(static), plain_verdict(static)]
    assert answer(verdicts, [plain_test(static)], [fp32, static]) == (
        "yes",
        ["Net: all 3 gates hold (static)"],
    )


def test_no_when_a_gate_fails_its_test():
    verdict = plain_verdict(STATIC, "FAIL")
    assert answer([verdict], [plain_test(STATIC, "failed", "AssertionError: size FAIL")]) == (
        "no",
        ["Net: size FAIL: so it is"],
    )


@pytest.mark.parametrize("outcome", ["passed", "xfailed", "xpassed", "inconclusive"])
def test_a_fail_that_its_test_expects_is_listed_and_no_reason(outcome):
    qat = plain_row(variant="qat")
    verdicts = [plain_verdict(STATIC, "FAIL"), plain_verdict(qat, test="test_qat")]
    ship = may_ship(Report({}, [STATIC, qat], verdicts, tests=[plain_test(STATIC, outcome)]))
    assert (str(ship.answer), ship.why) == ("yes", ("Net: its one gate holds (qat)",))
    assert ship.expected == ("Net: size FAIL: so it is",)


def test_only_expected_fails_prove_nothing():
    verdict = plain_verdict(STATIC, "FAIL")
    assert answer([verdict], [plain_test(STATIC, "xfailed")]) == (
        "undecided",
        [f"Net: {NONE_HOLDS}"],
    )


def test_a_fail_of_a_test_that_was_then_skipped_is_undecided():
    verdict = plain_verdict(STATIC, "FAIL")
    assert answer([verdict], [plain_test(STATIC, "skipped")])[0] == "undecided"


def test_a_fail_of_a_test_whose_end_nobody_saw_counts():
    assert answer([plain_verdict(STATIC, "FAIL")], interrupted=True) == (
        "no",
        ["Net: size FAIL: so it is", STOPPED],
    )


def test_what_is_inconclusive_is_undecided():
    verdicts = [plain_verdict(STATIC), plain_verdict(STATIC, "INCONCLUSIVE", "speed-up")]
    assert answer(verdicts, [plain_test(STATIC, "inconclusive")]) == (
        "undecided",
        ["Net: speed-up INCONCLUSIVE: so it is"],
    )


def test_an_undecided_gate_of_a_test_marked_xfail_is_no_reason():
    verdicts = [
        plain_verdict(STATIC, "INCONCLUSIVE"),
        plain_verdict(plain_row(variant="qat"), test="test_qat"),
    ]
    assert answer(verdicts, [plain_test(STATIC, "xfailed")])[0] == "yes"


def test_an_interrupted_run_is_undecided_though_all_that_was_judged_holds():
    assert answer([plain_verdict(STATIC)], [plain_test(STATIC)], interrupted=True) == (
        "undecided",
        [STOPPED],
    )


@pytest.mark.parametrize(
    ("rows", "verdicts"),
    [
        ([], []),
        ([STATIC], []),
        (measured_rows()[:1], [plain_verdict(measured_rows()[0])]),
    ],
)
def test_without_a_verdict_on_a_quantized_variant_nothing_is_decided(rows, verdicts):
    said, why = answer(verdicts, rows=rows)
    assert said == "undecided"
    assert [text.removeprefix("Net: ") for text in why] == [NOTHING]


@pytest.mark.parametrize("model", ["Net", None])
def test_an_error_is_a_no_with_its_reason(model):
    test = plain_test(STATIC, "error", "prepare ERROR: no flow takes it", nodeid="test_qat")
    test["variants"] = [{"where": model and "", "model": model, "variant": "qat"}]
    said, why = answer([plain_verdict(STATIC)], [plain_test(STATIC), test])
    assert said == "no"
    prefix = "Net: " if model else ""
    assert why == [f"{prefix}test_qat could not be run: prepare ERROR: no flow takes it"]


def test_a_failed_test_without_a_fail_is_a_no_too():
    """The team's own assertion on a variant is a reason as good as a gate's."""
    test = plain_test(STATIC, "failed", "AssertionError: wrong shape", nodeid="test_own")
    assert answer([plain_verdict(STATIC)], [plain_test(STATIC), test]) == (
        "no",
        ["Net: test_own failed: AssertionError: wrong shape"],
    )


def test_a_variant_that_could_not_be_made_and_that_no_test_asked_for_is_no_reason():
    rows = [STATIC, plain_row(variant="qat", error="train ERROR: no data")]
    seen = [*plain_test(STATIC)["variants"], *plain_test(rows[1])["variants"]]  # by --quant-all
    test = plain_test(STATIC, variants=seen)
    assert answer([plain_verdict(STATIC)], [test], rows)[0] == "yes"
    for tests in ([], [plain_test(STATIC)]):  # of a script, also when merged with a run
        assert answer([plain_verdict(STATIC)], tests, rows)[0] == "no"


def test_skipped_tests_are_counted():
    tests = [plain_test(STATIC), plain_test(STATIC, "skipped", nodeid="test_slow")]
    ship = may_ship(Report({}, [STATIC], [plain_verdict(STATIC)], tests=tests))
    assert (str(ship.answer), ship.skipped) == ("yes", 1)


def test_each_model_has_its_answer_and_one_no_is_a_no():
    rows = [plain_row(name) for name in ("A", "B", "C")]
    verdicts = [
        plain_verdict(rows[0]),
        plain_verdict(rows[1], "FAIL", test="test_b"),
        plain_verdict(rows[2], "INCONCLUSIVE", test="test_c"),
    ]
    report = Report({}, rows, verdicts)
    each = {model: str(ship.answer) for (_, model, _), ship in may_ship_each(report).items()}
    assert each == {"A": "yes", "B": "no", "C": "undecided"}
    assert may_ship(report).why == (
        "B: size FAIL: so it is",
        "C: size INCONCLUSIVE: so it is",
    )


def test_one_undecided_model_leaves_the_run_undecided():
    rows = [plain_row("A"), plain_row("B")]
    assert answer([plain_verdict(rows[0])], rows=rows) == ("undecided", [f"B: {NOTHING}"])


def test_variants_that_do_not_hold_are_not_named_among_those_that_do():
    qat = plain_row(variant="qat")
    verdicts = [
        plain_verdict(STATIC),
        plain_verdict(STATIC, "FAIL", test="test_expected"),
        plain_verdict(qat),
        plain_verdict(qat),
    ]
    tests = [plain_test(STATIC), plain_test(STATIC, "xfailed", nodeid="test_expected")]
    assert answer(verdicts, tests, [STATIC, qat])[1] == ["Net: all 2 gates hold (qat)"]


def test_a_model_of_which_only_fp32_was_judged_is_undecided_beside_a_namesake():
    rows = [plain_row("Net", "fp32", "b"), plain_row("Net", "static", "a")]
    verdicts = [plain_verdict(row) for row in rows]
    assert answer(verdicts, rows=rows) == ("undecided", [f"Net (b): {NOTHING}"])


def test_variants_of_other_calibration_data_belong_to_the_model_of_their_fp32():
    rows = [plain_row("Net", "fp32"), plain_row("Net", "static", variant_ids="test_more.py")]
    assert answer([plain_verdict(rows[1])], rows=rows) == (
        "yes",
        ["Net: its one gate holds (static)"],
    )
