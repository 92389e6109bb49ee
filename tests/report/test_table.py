"""Table: a report's frame as text for people."""

import pytest
from builders import latency_cells, measured_rows, metric_cells, plain_row, plain_verdict
from tabulate import tabulate_formats

from pytest_quant.report.document import Report
from pytest_quant.report.frame import frame_of
from pytest_quant.report.table import table_of


def table(*rows, verdicts=(), format="plain"):
    return table_of(frame_of(Report(rows=list(rows), verdicts=list(verdicts))), format)


def cells(*rows, **more):
    """Each line's cells by their heads."""
    lines = table(*rows, format="pipe", **more).splitlines()
    heads, _, *split = ([text.strip() for text in line.split("|")[1:-1]] for line in lines)
    return [dict(zip(heads, line, strict=True)) for line in split]


def test_numbers_come_with_their_units_and_no_more_digits_than_they_have():
    rows = measured_rows()
    fp32, static = cells(*rows, verdicts=[plain_verdict(rows[1])])
    assert static == {
        "model": "Net",
        "variant": "static",
        "MB": "1.25",
        "smaller": "3.20x",
        "top-1": "94.00 %",
        "drop": "1.00 pt",
        "flips": "3.00 %",
        "SQNR dB": "-",
        "ms/batch": "4",
        "speed-up [95 %]": "2.00x [1.90, 2.10]",
        "vs best FP32": "-",
        "int8": "97.50 %",
        "gates": "1 PASS",
    }
    assert (fp32["speed-up [95 %]"], fp32["drop"], fp32["flips"]) == ("1.00x", "-", "-")


def test_what_is_not_known_is_a_dash():
    (line,) = cells(plain_row())
    assert line.pop("model") == "Net"
    assert line.pop("variant") == "static"
    assert line.pop("gates") == ""
    assert set(line.values()) == {"-"}


def test_one_metric_of_accuracy_is_a_column_and_others_are_named_in_each_line():
    assert "metric" not in cells(plain_row(metrics=[metric_cells()]))[0]
    lines = cells(
        plain_row(metrics=[metric_cells(), metric_cells("loss", 0.12345, drop=1e-5, unit="raw")])
    )
    assert [(line["metric"], line["value"], line["drop"]) for line in lines] == [
        ("top-1", "95.00 %", "-"),
        ("loss", "0.1235", "1e-05"),
    ]


def test_a_report_of_fp32_alone_is_a_table_too():
    (line,) = cells(plain_row("Net", "fp32", metrics=[metric_cells()]))
    assert (line["top-1"], line["drop"]) == ("95.00 %", "-")


def test_the_speed_up_against_the_best_fp32_is_beside_that_against_the_given():
    (line,) = cells(plain_row(latency=latency_cells(against_best=1.25)))
    assert (line["speed-up [95 %]"], line["vs best FP32"]) == ("2.00x [1.90, 2.10]", "1.25x")


@pytest.mark.parametrize("value", [float("nan"), None])
def test_a_value_that_is_no_number_is_a_dash(value):
    assert cells(plain_row(metrics=[metric_cells(value=value)]))[0]["top-1"] == "-"


@pytest.mark.parametrize("format", tabulate_formats)
def test_every_format_of_tabulate_renders(format):
    text = table(*measured_rows(), plain_row("Other"), format=format)
    assert all(word in text for word in ("static", "fp32", "Other", "3.20x", "94.00"))


@pytest.mark.parametrize("format", tabulate_formats)
def test_a_report_without_rows_renders(format):
    assert "static" not in table(format=format)


def test_texts_that_look_like_numbers_stay_as_they_are():
    (line,) = cells(plain_row("1e5", "007"))
    assert (line["model"], line["variant"]) == ("1e5", "007")


def test_the_speed_up_over_fp32_in_its_runtime_is_shown_where_it_was_timed():
    file = plain_row("Net", "onnx", latency=latency_cells(against_runtime=1.5))
    (fp32, line) = cells(plain_row("Net", "fp32"), file)
    assert (fp32["vs FP32 there"], line["vs FP32 there"]) == ("-", "1.50x")
    (line,) = cells(plain_row(latency=latency_cells()))
    assert "vs FP32 there" not in line
