"""Choice: which kind of quantization, from planted rows."""

import copy
from dataclasses import replace

import pytest
from builders import latency_cells, metric_cells, plain_row, plain_verdict

from pytest_quant.baseline.row import Row
from pytest_quant.report.which_kind import which_kind
from pytest_quant.variant.key import RowKey

CONVOLUTIONAL = {"convolution": 0.995, "linear": 0.005, "recurrent": 0.0, "attention": 0.0}
RECURRENT = {"convolution": 0.0, "linear": 0.2, "recurrent": 0.8, "attention": 0.0}


def fp32(work=None):
    size = {"tensor_bytes": 1000, "file_bytes": None}
    return Row.from_dict(plain_row(variant="fp32", metrics=[metric_cells()], size=size, work=work))


def row(
    kind, drop=0.0, speed=2.0, size=0.25, *, name=None, samples=1000, unit="fraction", value=0.9
):
    """A row as it is measured; None leaves a measurement out."""
    metric = metric_cells(drop=drop, samples=samples, unit=unit, value=value)
    bytes = size and {"tensor_bytes": round(1000 * size), "file_bytes": None}
    plain = plain_row(
        variant=name or kind,
        recipe={"kind": kind},
        metrics=[] if drop is None else [metric],
        size=bytes,
        fp32_size=1000,
        latency=None if speed is None else latency_cells(speed),
    )
    return Row.from_dict(plain)


DYNAMIC = row("dynamic", speed=1.0, size=1.0)
STATIC = row("static", drop=0.001)


def taken(*rows, verdicts=()):
    text = which_kind(rows, verdicts)
    return text.removeprefix("Take ").split(" ")[0] if text.startswith("Take ") else None


def test_nothing_is_said_where_no_quantized_variant_was_measured():
    assert which_kind([]) == ""
    assert which_kind([fp32(CONVOLUTIONAL)]) == ""
    assert which_kind([fp32(), Row.blank(RowKey("", "Net", "static"))]) == ""


def test_static_for_a_convolutional_net_since_dynamic_gives_nothing():
    text = which_kind([fp32(CONVOLUTIONAL), DYNAMIC, STATIC])
    assert text.startswith("Take static on this CPU: static loses 0.10 pt of top-1 (1 of 1,000 ")
    assert "it needs calibration data" in text
    assert "do 0.5 % of the multiply-adds (convolution the rest)" in text
    assert "Not measured: QAT; --quant-all" in text


def test_dynamic_where_static_gives_no_more():
    rows = [fp32(RECURRENT), row("dynamic", speed=1.9), row("static", speed=1.95)]
    assert taken(*rows) == "dynamic"
    assert "it needs no data" in which_kind(rows)


def test_static_where_it_is_notably_faster_and_loses_little():
    assert taken(fp32(), row("dynamic", speed=1.5), row("static", drop=0.005, speed=2)) == "static"


def with_interval(speed, interval, kind="static"):
    plain = row(kind, speed=speed).to_dict()
    return Row.from_dict(plain | {"latency": latency_cells(speed, interval_95=interval)})


@pytest.mark.parametrize(
    ("interval", "kind"),
    [
        ([6.7, 6.75], "static"),  # all of it is a tenth above dynamic's
        ([6.5, 7.5], "dynamic"),  # a busy minute
        (None, "dynamic"),  # too few rounds
    ],
)
def test_a_kind_is_faster_only_where_its_interval_says_so(interval, kind):
    rows = [fp32(), with_interval(6.0, [5.95, 6.05], "dynamic"), with_interval(6.72, interval)]
    assert taken(*rows) == kind


def test_a_faster_kind_that_loses_more_than_a_point_needs_a_gate_that_allows_it():
    rows = [fp32(), row("dynamic", speed=1.5), row("static", drop=0.03, speed=2)]
    assert taken(*rows) == "dynamic"
    assert taken(*rows, verdicts=[plain_verdict(rows[2], quantity="accuracy")]) == "static"


def test_without_speeds_the_smaller_one_is_taken():
    rows = [fp32(), row("dynamic", speed=None, size=0.9), row("static", speed=None, size=0.25)]
    assert taken(*rows) == "static"
    assert "the speed of dynamic and the speed of static" in which_kind(rows)


@pytest.mark.parametrize("size", [0.25, 0.2, 0.1])
def test_what_was_not_timed_is_not_taken_before_what_is_known_to_be_faster(size):
    untimed = row("static", drop=0.0, speed=None, size=size, name="onnx")
    for rows in ([STATIC, untimed], [untimed, STATIC]):
        assert taken(fp32(), *rows) == "static"
    slow = row("static", speed=0.9, size=0.25)
    assert taken(fp32(), slow, untimed) == "onnx"


def test_qat_where_it_wins_back_what_static_loses():
    rows = [fp32(), row("static", drop=0.02), row("qat", drop=0.003)]
    assert taken(*rows) == "QAT"
    assert "it needs training" in which_kind(rows)


def test_what_training_gains_beyond_fp32_is_no_reason_for_qat():
    rows = [fp32(), row("static", drop=0.0), row("qat", drop=-0.01)]
    assert taken(*rows) == "static"
    assert "training gained 1.00 pt over static (10 of 1000 samples)" in which_kind(rows)


def test_one_sample_of_difference_counts_for_nothing():
    rows = [fp32(), row("static", drop=0.01, samples=100), row("qat", drop=0.0, samples=100)]
    assert taken(*rows) == "static"
    assert "gained no significant accuracy over static" in which_kind(rows)


def test_a_gate_that_fails_decides_before_any_figure():
    rows = [fp32(), row("static", speed=4.0), row("qat", speed=3.9)]
    verdicts = [
        plain_verdict(rows[1], "FAIL", "accuracy"),
        plain_verdict(rows[2], "PASS", "accuracy"),
        plain_verdict(rows[2], "PASS", "speed-up"),
    ]
    text = which_kind(rows, verdicts)
    assert text.startswith("Take QAT")
    assert "holds 2 gates" in text
    assert (
        "static loses nothing of top-1, is 4.00x as fast as FP32 and has 0.25 of its size, and "
        in text
    )
    assert "fails its gate on accuracy" in text


def test_verdicts_on_other_models_do_not_count():
    rows = [fp32(), STATIC]
    other = plain_verdict(plain_row("Other", "static"), "FAIL")
    assert taken(*rows, verdicts=[other]) == "static"


def test_where_none_holds_its_gates_none_is_taken():
    rows = [fp32(), STATIC]
    text = which_kind(rows, [plain_verdict(STATIC, "FAIL", "speed-up")])
    assert text.startswith("None of the kinds that were measured holds all its gates on this CPU.")
    assert "fails its gate on speed-up" in text


def test_where_nothing_is_faster_fp32_is_kept():
    text = which_kind([fp32(CONVOLUTIONAL), DYNAMIC])
    assert text.startswith(
        "Keep FP32 on this CPU: dynamic is no faster, and no test asks for size. dynamic loses nothing"
    )
    assert "Not measured: static and QAT" in text


def test_a_half_of_the_speed_is_taken_only_for_size_that_is_asked_for():
    rows = [fp32(), row("dynamic", speed=0.44, size=0.38), row("static", speed=0.41, size=0.37)]
    text = which_kind(rows)
    assert text.startswith(
        "Keep FP32 on this CPU: dynamic and static are no faster, and no test asks for size. If only "
        "size matters, 0.37 of FP32's is possible."
    )
    assert taken(*rows, verdicts=[plain_verdict(rows[1], quantity="size")]) == "dynamic"


def test_a_speed_that_a_gate_was_content_with_is_enough():
    rows = [fp32(), row("static", speed=1.05)]
    assert taken(*rows) is None
    assert taken(*rows, verdicts=[plain_verdict(rows[1], quantity="speed-up")]) == "static"


def test_a_speed_whose_interval_holds_one_is_no_gain():
    rows = [fp32(), with_interval(1.2, [0.9, 1.6])]
    text = which_kind(rows)
    assert text.startswith("Keep FP32 on this CPU: static is not proven to be faster, and no test")
    assert "is 1.20x as fast as FP32 (0.90 to 1.60)" in text


def test_what_is_smaller_and_whose_accuracy_nobody_measured_is_said_to_be_so():
    small = row("weight_only", speed=0.9, size=0.2, drop=None)
    rows = [fp32(), row("dynamic", speed=0.9, size=0.95), small]
    text = which_kind(rows, [plain_verdict(small, "PASS", "size")])
    assert text.startswith(
        "Keep FP32 on this CPU: dynamic is no faster nor much smaller; the accuracy of weight_only was "
        "not measured."
    )


def test_what_loses_much_is_not_taken_unless_a_gate_allows_it():
    rows = [fp32(), row("static", drop=0.7, speed=3.0)]
    text = which_kind(rows)
    assert text.startswith(
        "Keep FP32 on this CPU: static loses 70.00 pt, which no gate allows. static loses 70.00 pt of"
    )
    assert taken(*rows, verdicts=[plain_verdict(rows[1], quantity="accuracy")]) == "static"


def test_reasons_of_several_kinds_stand_beside_each_other():
    rows = [fp32(), row("dynamic", speed=0.9), row("static", speed=3.0)]
    text = which_kind(rows, [plain_verdict(rows[2], "FAIL", "accuracy")])
    assert text.startswith(
        "Keep FP32 on this CPU: dynamic is no faster, and no test asks for size; static fails its gate "
        "on accuracy."
    )


def test_what_is_undecided_is_named():
    text = which_kind([fp32(), STATIC], [plain_verdict(STATIC, "INCONCLUSIVE", "speed-up")])
    assert "speed-up is undecided" in text


def test_what_could_not_be_made_says_why():
    failed = Row.blank(RowKey("", "Net", "static"), "calibrate ERROR: no data.")
    text = which_kind([fp32(), row("dynamic"), failed])
    assert "static could not be built: calibrate ERROR: no data." in text
    assert "Not measured: QAT;" in text


def test_a_long_error_is_not_told_twice():
    failed = Row.blank(RowKey("", "Net", "qat"), f"train ERROR: {'the loss raised ' * 20}.")
    text = which_kind([fp32(), row("dynamic"), failed])
    assert "qat could not be built: train ERROR, as reported for it." in text


def test_work_that_is_unknown_is_left_out():
    assert "multiply-adds" not in which_kind([fp32(), DYNAMIC, STATIC])


def own(speed, interval=None, **more):
    plain = row("static", speed=speed, name="static-minmax", **more).to_dict()
    return Row.from_dict(plain | {"latency": latency_cells(speed, interval_95=interval)})


def test_own_recipes_are_weighed_too():
    assert taken(fp32(), own(9.0, [8.8, 9.2])) == "static-minmax"
    assert taken(fp32(), own(9.0, [8.8, 9.2]), STATIC) == "static-minmax"
    assert taken(fp32(), own(2.1, [2.0, 2.2]), STATIC) == "static"  # no more than chance
    assert taken(fp32(), own(2.0, [1.9, 2.1]), row("static", drop=0.02)) == "static-minmax"
    assert taken(fp32(), row("weight_only", speed=0.9, name="w8"), STATIC) == "static"


def test_of_many_recipes_some_are_told():
    many = [row("static", name=f"s{i}", speed=2.0) for i in range(9)]
    text = which_kind([fp32(), *many])
    assert text.startswith("Take s0 on this CPU")
    assert "4 more are in the table." in text


@pytest.mark.parametrize(
    ("unit", "shown"), [("perplexity", "loses 5.00 % of"), ("raw", "loses 0.05 of")]
)
def test_a_drop_is_shown_in_its_own_unit(unit, shown):
    assert shown in which_kind([fp32(), row("static", drop=0.05, unit=unit)])


@pytest.mark.parametrize(
    ("drop", "shown"),
    [
        (0.05, "raises top-1 by 0.05"),
        (-0.05, "lowers top-1 by 0.05"),
        (0.0, "does not raise top-1"),
    ],
)
def test_of_a_loss_it_is_said_which_way_it_went(drop, shown):
    static = row("static", drop=drop, unit="raw")
    (metric,) = static.metrics
    loss = replace(static, metrics=(replace(metric, higher_is_better=False),))
    assert shown in which_kind([fp32(), loss])


def test_rows_are_only_read():
    rows = [fp32(CONVOLUTIONAL), DYNAMIC, STATIC]
    before = copy.deepcopy(rows)
    which_kind(rows, [plain_verdict(STATIC)])
    assert rows == before


def test_a_drop_that_is_no_number_is_no_figure():
    assert "top-1" not in which_kind([fp32(), row("static", drop=float("nan"))])


def test_without_accuracy_no_kind_is_recommended():
    text = which_kind([fp32(), row("static", drop=None, speed=None)])
    assert text.startswith("No kind can be recommended")
    assert taken(fp32(), row("static", drop=None), row("dynamic")) == "dynamic"
