"""Frame: a report's numbers, one line for each metric of each row, missing where nothing is known."""

import pytest
from builders import latency_cells, measured_rows, metric_cells, plain_row, plain_verdict

from pytest_quant.report.document import Report
from pytest_quant.report.frame import COLUMNS, frame_of


def lines_of(*rows, verdicts=()):
    frame = frame_of(Report(rows=list(rows), verdicts=list(verdicts)))
    return [
        {name: value for name, value in line.items() if value == value}  # without what is missing
        for line in frame.to_dict("records")
    ]


def test_every_number_is_in_its_column_and_unit():
    fp32, static = lines_of(*measured_rows())
    assert fp32 == {
        "model": "Net",
        "variant": "fp32",
        "metric": "top-1",
        "unit": "fraction",
        "size_mb": 4.0,
        "file_mb": 4.1,
        "times_smaller": 1.0,
        "value": 0.95,
        "samples": 200,
        "ms_per_batch": 8.0,
        "batch": 16,
        "speedup": 1.0,
        "int8_share": 0.0,
        "int8_share_macs": 0.0,
        "gates": "",
    }
    assert static == {
        "model": "Net",
        "variant": "static",
        "metric": "top-1",
        "unit": "fraction",
        "size_mb": 1.25,
        "times_smaller": 3.2,
        "value": 0.94,
        "drop": 0.01,
        "flips": 0.03,
        "samples": 200,
        "ms_per_batch": 4.0,
        "batch": 16,
        "speedup": 2.0,
        "speedup_low": 1.9,
        "speedup_high": 2.1,
        "int8_share": 0.975,
        "rounds": 13,
        "gates": "",
    }


def test_the_columns_are_the_same_whatever_is_known():
    for rows in ([], [plain_row()], measured_rows()):
        assert tuple(frame_of(Report(rows=rows)).columns) == COLUMNS


@pytest.mark.parametrize("rows", [[], [plain_row("Net", "fp32", metrics=[metric_cells()])]])
def test_columns_of_numbers_hold_numbers_even_when_all_are_missing(rows):
    frame = frame_of(Report(rows=rows))
    assert frame["drop"].dtype == frame["speedup_low"].dtype == frame["samples"].dtype == "float64"


def test_a_row_that_nothing_is_known_of_is_a_line_all_the_same():
    (line,) = lines_of(plain_row(error="could not be traced"))
    assert line == {"model": "Net", "variant": "static", "gates": "ERROR"}


def test_each_metric_has_a_line_and_the_model_is_described_in_the_first():
    metrics = [metric_cells("top-1"), metric_cells("loss", 0.5, unit="raw")]
    row = plain_row(metrics=metrics, latency=latency_cells())
    first, second = lines_of(row, verdicts=[plain_verdict(row)])
    assert (first["metric"], first["gates"], first["speedup"]) == ("top-1", "1 PASS", 2.0)
    assert second == {
        "model": "Net",
        "variant": "static",
        "metric": "loss",
        "unit": "raw",
        "value": 0.5,
        "samples": 200,
        "gates": "",
    }


def test_gates_stand_on_their_own_variants_line():
    static, qat = plain_row(variant="static"), plain_row(variant="qat")
    verdicts = [plain_verdict(static), plain_verdict(qat, "FAIL", "accuracy")]
    assert [line["gates"] for line in lines_of(static, qat, verdicts=verdicts)] == [
        "1 PASS",
        "accuracy FAIL",
    ]


def test_fp32_shows_its_time_though_only_variants_are_timed_against_it():
    fp32, static = plain_row("Net", "fp32"), plain_row(latency=latency_cells(fp32_ms=6.0))
    other = plain_row("Other", "fp32")
    lines = lines_of(fp32, static, other)
    assert [line.get("ms_per_batch") for line in lines] == [6.0, 3.0, None]


def test_a_speed_up_without_an_interval_has_none():
    (line,) = lines_of(plain_row(latency=latency_cells(interval_95=None, rounds=3)))
    assert "speedup_low" not in line
    assert line["speedup"] == 2.0


def test_a_model_without_tensors_is_not_compared_in_size():
    nothing = {"tensor_bytes": 0, "file_bytes": 300}
    (line,) = lines_of(plain_row(size=nothing, fp32_size=4_000_000))
    assert (line["size_mb"], "times_smaller" in line) == (0.0, False)


def test_namesakes_are_told_apart():
    models = [
        line["model"] for line in lines_of(*measured_rows(where="a"), *measured_rows(where="b"))
    ]
    assert models == ["Net (a)", "Net (a)", "Net (b)", "Net (b)"]
