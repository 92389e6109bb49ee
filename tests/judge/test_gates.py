"""The assertion helpers outside pytest: what they refuse, say, record and raise."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from builders import (
    planted_variant,
    right,
    timed_variant,
    tiny_linear,
    toy_variant,
    unquantized_variant,
)
from fake_clock import fake_pair

from pytest_quant import (
    Gate,
    Outcome,
    QuantStageError,
    Recipe,
    assert_gates,
    assert_max_accuracy_drop,
    assert_max_flips,
    assert_max_size,
    assert_min_int8_share,
    assert_min_speedup,
)
from pytest_quant.explain.notes import notes_on
from pytest_quant.judge import recorder
from pytest_quant.judge.limits import LIMITS, checked
from pytest_quant.judge.recorder import Running

HELPERS = [
    (assert_max_accuracy_drop, "max_accuracy_drop"),
    (assert_min_speedup, "min_speedup"),
    (assert_max_flips, "max_flips"),
]
EVERY_LIMIT = {
    "max_accuracy_drop": 0.5,
    "min_speedup": 0.001,
    "max_size_ratio": 0.9,
    "max_size_mb": 1,
    "min_int8_share": 0.5,
    "max_flips": 0.9,
}


@pytest.fixture(scope="module")
def dynamic():
    return toy_variant("dynamic")


def told(**limits):
    """As a test that marker, command line or ini gave these limits."""
    return recorder.running(Running("test_it.py::test_it", limits=limits))


@pytest.mark.parametrize("given", [None, 3, "static", torch.zeros(2), tiny_linear()])
@pytest.mark.parametrize(
    "helper",
    [
        lambda given: assert_max_accuracy_drop(given, 0.01),
        lambda given: assert_min_speedup(given, 1.5),
        lambda given: assert_max_size(given, ratio=0.3),
        lambda given: assert_min_int8_share(given),
        lambda given: assert_max_flips(given, 0.1),
        lambda given: assert_gates(given, max_size_ratio=0.3),
    ],
)
def test_what_is_no_variant_is_refused_by_name(helper, given):
    with pytest.raises(TypeError, match=r"assert_\w+ was given .*; expected a Variant, as the fix"):
        helper(given)


@pytest.mark.parametrize(("helper", "name"), HELPERS)
def test_without_any_limit_there_is_nothing_to_assert(helper, name, dynamic):
    with pytest.raises(TypeError, match=rf"{name} is given neither in the call .* for example"):
        helper(dynamic)


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("given", ["0.1", True, None, [0.1], 1j])
def test_a_limit_is_a_number(name, given):
    with pytest.raises(TypeError, match=f"{name} is .*; expected "):
        checked(name, given)


@pytest.mark.parametrize("given", [Decimal("0.01"), Fraction(1, 100), np.float32(0.01)])
def test_a_number_of_another_kind_is_asked_for_as_a_plain_one(given):
    said = f"max_accuracy_drop is .*, a {type(given).__name__}; expected .* as a plain int or float"
    with pytest.raises(TypeError, match=said):
        checked("max_accuracy_drop", given)
    assert checked("max_accuracy_drop", np.float64(0.01)) == 0.01


def test_a_number_that_no_float_can_be_is_refused_like_an_infinite_one():
    with pytest.raises(ValueError, match="max_size_mb is a number of more than 300 digits; expect"):
        checked("max_size_mb", 10**400)


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("given", [-0.01, float("nan"), float("inf")])
def test_a_limit_is_finite_and_not_negative(name, given):
    with pytest.raises(ValueError, match=f"{name} is .*; expected "):
        checked(name, given)


@pytest.mark.parametrize(
    ("name", "given"), [("min_int8_share", 90), ("max_flips", 1.01), ("min_speedup", 0)]
)
def test_a_limit_lies_where_it_can_mean_something(name, given):
    with pytest.raises(ValueError, match=f"{name} is {given}.*; expected a "):
        checked(name, given)


@pytest.mark.parametrize("name", sorted(set(LIMITS) - {"min_speedup"}))
def test_zero_is_a_limit(name):
    assert checked(name, 0) == 0.0


@pytest.mark.parametrize(("helper", "name"), HELPERS)
def test_a_wrong_limit_is_refused_in_the_call(helper, name, dynamic):
    with pytest.raises(TypeError, match=f"{name} is 'low'"):
        helper(dynamic, "low")
    with pytest.raises(ValueError, match=f"{name} is -1"):
        helper(dynamic, -1)


@pytest.mark.parametrize("given", [{}, {"ratio": 0.3, "mb": 1}])
def test_size_takes_exactly_one_of_ratio_and_mb(given, dynamic):
    with pytest.raises(TypeError, match=r"exactly one of ratio and mb, .*; given ratio="):
        assert_max_size(dynamic, **given)


def test_an_unknown_limit_is_refused_with_those_that_are_known(dynamic):
    with pytest.raises(
        TypeError,
        match=r"unknown limit 'max_acc_drop' \(did you mean max_accuracy_drop\?\); allowed: max_acc",
    ):
        assert_gates(dynamic, max_acc_drop=0.01)
    with pytest.raises(TypeError, match="assert_gates was given no limit"):
        assert_gates(dynamic)


def test_min_baseline_is_a_number(dynamic):
    with pytest.raises(TypeError, match="min_baseline is 'high'; expected a value of the metric"):
        assert_max_accuracy_drop(dynamic, 0.5, min_baseline="high")
    with pytest.raises(ValueError, match="min_baseline is nan; expected a value of the metric"):
        assert_max_accuracy_drop(dynamic, 0.5, min_baseline=float("nan"))


def test_a_refused_argument_is_no_verdict(dynamic):
    with told() as running:
        with pytest.raises(TypeError):
            assert_max_accuracy_drop(dynamic)
        assert running.verdicts == []


def test_a_limit_that_the_call_leaves_out_is_the_running_tests(dynamic):
    with told(max_accuracy_drop=0.5, max_flips=0.75, min_int8_share=0.25, max_size_mb=2):
        assert assert_max_accuracy_drop(dynamic).limit == 0.5
        assert assert_max_flips(dynamic).limit == 0.75
        assert assert_min_int8_share(dynamic).limit == 0.25
        verdict = assert_max_size(dynamic)
        assert (verdict.gate, verdict.limit) == ("max_size_mb", 2)


def test_the_call_wins_over_what_the_running_test_was_told(dynamic):
    with told(max_accuracy_drop=0.5, max_flips=0.75, min_int8_share=0.25, max_size_mb=2):
        assert assert_max_accuracy_drop(dynamic, 0.25).limit == 0.25
        assert assert_max_flips(dynamic, 0.5).limit == 0.5
        assert assert_min_int8_share(dynamic, 0).limit == 0
        verdict = assert_max_size(dynamic, ratio=0.9)
        assert (verdict.gate, verdict.limit) == ("max_size_ratio", 0.9)


def test_zero_in_the_call_is_a_limit_and_not_left_out():
    variant = planted_variant(right(90, of=100), right(89, of=100))
    with told(max_accuracy_drop=0.5, max_flips=0.5):
        for helper in (assert_max_accuracy_drop, assert_max_flips):
            with pytest.raises(AssertionError):
                helper(variant, 0)


def test_size_is_judged_by_both_limits_that_the_test_was_told(dynamic):
    with told(max_size_mb=2, max_size_ratio=0.9) as test:
        assert assert_max_size(dynamic).gate == "max_size_mb"
        assert [verdict.gate for verdict in test.verdicts] == ["max_size_ratio", "max_size_mb"]
    for limits in ({"max_size_ratio": 0.0}, {"max_size_mb": 0}):
        told_both = {"max_size_mb": 2, "max_size_ratio": 0.9, **limits}
        with told(**told_both) as test:
            with pytest.raises(AssertionError, match="size FAIL"):
                assert_max_size(dynamic)
            assert len(test.verdicts) == 2


def test_the_inner_of_two_running_tests_counts(dynamic):
    with told(max_flips=0.25) as outer:
        with told(max_flips=0.75) as inner:
            assert assert_max_flips(dynamic).limit == 0.75
        assert (len(inner.verdicts), len(outer.verdicts)) == (1, 0)
        assert assert_max_flips(dynamic).limit == 0.25


def test_each_verdict_is_returned_and_recorded_breached_or_not():
    variant = planted_variant(right(90, of=100), right(80, of=100))
    with told() as running:
        passed = assert_max_accuracy_drop(variant, 0.1)
        with pytest.raises(AssertionError) as caught:
            assert_max_accuracy_drop(variant, 0.05)
    first, second = running.verdicts
    assert first is passed
    assert passed.passed
    assert second.outcome is Outcome.FAIL
    assert str(caught.value) == second.sentence == str(second)


def test_a_verdict_is_plain_json():
    plain = assert_max_accuracy_drop(
        planted_variant(right(90, of=100), right(80, of=100)), 0.1
    ).to_dict()
    assert plain == {
        "gate": "max_accuracy_drop",
        "quantity": "accuracy",
        "outcome": "PASS",
        "sentence": "accuracy PASS: static drops 10.00 pt (90.00 % -> 80.00 %, 100 samples), "
        "allowed 10.00 pt",
        "limit": 0.1,
        "observed": 0.1,
        "model": "planted",
        "variant": "static",
        "where": "",
        "metric": "top-1",
        "evidence": {
            "samples": 100,
            "fp32": 0.9,
            "variant": 0.8,
            "relative": False,
            "scope": "dataset",
            "flips": 10,
        },
    }
    assert type(plain["outcome"]) is str


def test_all_gates_pass_together_in_the_order_of_the_limits(dynamic):
    verdicts = assert_gates(dynamic, max_flips=0.9, max_size_ratio=0.9, max_accuracy_drop=0.5)
    assert [verdict.gate for verdict in verdicts] == [
        "max_accuracy_drop",
        "max_size_ratio",
        "max_flips",
    ]


def test_all_gates_are_evaluated_and_those_breached_are_named():
    variant = planted_variant(right(90, of=100), right(80, of=100))
    with told() as running, pytest.raises(AssertionError) as caught:
        assert_gates(
            variant, max_accuracy_drop=0.05, max_flips=0.2, min_int8_share=0.5, max_size_mb=0
        )
    assert [(v.gate, str(v.outcome)) for v in running.verdicts] == [
        ("max_accuracy_drop", "FAIL"),
        ("max_size_mb", "FAIL"),
        ("min_int8_share", "FAIL"),
        ("max_flips", "PASS"),
    ]
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == [
        "accuracy FAIL",
        "size FAIL",
        "int8 share FAIL",
    ]


def test_gates_add_the_limits_of_the_running_test_to_those_of_the_call(dynamic):
    with told(max_flips=0.9, max_size_ratio=0.8):
        verdicts = assert_gates(dynamic, max_size_ratio=0.9)
    assert [(verdict.gate, verdict.limit) for verdict in verdicts] == [
        ("max_size_ratio", 0.9),
        ("max_flips", 0.9),
    ]
    with told(max_flips=0.9):
        assert len(assert_gates(dynamic)) == 1


def rescaled(module):
    """FP32 with other bits."""
    with torch.no_grad():
        module[0].weight.mul_(3)
        module[0].bias.mul_(3)
        module[2].weight.div_(3)
    return module


def unmeasurable():
    """A callable of unknown size and int8 share."""
    return toy_variant(Recipe("custom", build=lambda module: lambda x: module(x) * 3), name="mine")


def test_what_cannot_be_measured_does_not_keep_the_others_from_being_judged():
    with (
        told() as running,
        pytest.raises(QuantStageError, match="the size of mine is unknown"),
    ):
        assert_gates(unmeasurable(), max_size_ratio=0.5, max_flips=0.9, max_accuracy_drop=0.9)
    assert [verdict.gate for verdict in running.verdicts] == ["max_accuracy_drop", "max_flips"]


def test_a_breach_beside_an_error_is_a_breach_that_tells_of_the_error():
    with pytest.raises(AssertionError) as caught:
        assert_gates(
            toy_variant(Recipe("custom", build=lambda module: lambda x: -module(x)), name="mine"),
            max_flips=0,
            max_size_ratio=0.5,
        )
    breach, error = str(caught.value).splitlines()
    assert breach.startswith("flips FAIL: mine scores ")
    assert error.startswith("size ERROR: the size of mine is unknown")


@pytest.mark.parametrize("kind", ["dynamic", "static", "qat"])
@pytest.mark.parametrize("name", EVERY_LIMIT)
def test_a_variant_that_was_not_quantized_fails_every_gate(name, kind):
    with pytest.raises(AssertionError) as caught:
        assert_gates(unquantized_variant(kind), **{name: EVERY_LIMIT[name]})
    assert f"{kind} was not quantized: none of its parameters is stored in fewer bits" in str(
        caught.value
    )


@pytest.mark.parametrize("name", sorted(set(EVERY_LIMIT) - {"min_int8_share", "max_size_ratio"}))
@pytest.mark.parametrize(
    ("build", "why"),
    [
        (lambda module: module, ": none of its parameters is stored in fewer bits"),
        (rescaled, ": none of its parameters is stored in fewer bits"),
        (
            lambda module: module.forward,
            ", as far as can be seen: it gives FP32's outputs bit for",
        ),
        (lambda module: lambda x: module(x) * (1 + 1e-6), ", .* FP32's outputs to 1[0-9][0-9] dB"),
    ],
)
def test_a_custom_variant_that_is_fp32_fails_every_gate(name, build, why):
    variant = toy_variant(Recipe("custom", build=build), name="mine")
    with pytest.raises(AssertionError, match=f"mine was not quantized{why}.*quantized=False"):
        assert_gates(variant, **{name: EVERY_LIMIT[name]})


def test_one_that_is_not_meant_to_be_quantized_is_judged_and_says_so():
    variant = toy_variant(Recipe("custom", build=rescaled, quantized=False), name="mine")
    assert assert_gates(variant, max_accuracy_drop=0.5)[0].passed
    assert "not quantized, as its recipe says (quantized=False)" in notes_on(variant)


def test_one_of_which_nothing_is_known_is_judged_and_says_so():
    variant = unmeasurable()
    assert_gates(variant, max_flips=1)
    assert any(note.startswith("not known to be quantized: what") for note in notes_on(variant))


def test_fp32_itself_may_be_gated(dynamic):
    verdicts = assert_gates(
        dynamic.fp32, max_accuracy_drop=0, max_flips=0, max_size_ratio=1, min_int8_share=0
    )
    assert all(verdict.passed for verdict in verdicts)


def test_an_error_is_raised_anew_each_time_and_says_the_same():
    variant = unmeasurable()
    errors = []
    for _ in range(2):
        with pytest.raises(QuantStageError) as caught:
            assert_max_size(variant, mb=1)
        errors.append(caught.value)
    assert errors[0] is not errors[1]
    assert str(errors[0]) == str(errors[1])


def test_a_limit_that_means_nothing_for_the_metric_is_refused_before_anything_is_timed():
    pair = fake_pair(0.003, 0.002)
    with pytest.raises(ValueError, match="a metric in fractions"):
        assert_gates(timed_variant(pair), min_speedup=1.2, max_accuracy_drop=1.5)
    assert pair.seconds_a == []


def test_what_ends_the_test_in_one_gate_leaves_the_verdicts_before_it(dynamic):
    def skips(variant, limit):
        pytest.skip("no card")

    gates = {"max_watts": Gate("max_watts", 5, skips)}
    with recorder.running(Running("test", gates=gates)) as running:
        with pytest.raises(pytest.skip.Exception):
            assert_gates(dynamic, max_size_ratio=0.001)
        assert [str(verdict.outcome) for verdict in running.verdicts] == ["FAIL"]


def test_a_variant_knows_the_verdicts_of_every_helper_in_a_script_too():
    variant = toy_variant("dynamic")
    assert_max_size(variant, ratio=0.9)
    assert_gates(variant, max_size_ratio=0.9, max_flips=0.9)
    told = [(verdict["gate"], verdict["outcome"]) for verdict in variant.verdicts]
    assert told == [("max_size_ratio", "PASS"), ("max_size_ratio", "PASS"), ("max_flips", "PASS")]
