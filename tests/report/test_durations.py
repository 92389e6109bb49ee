"""Durations: a table of seconds by variant and stage."""

import pytest
from builders import plain_row
from tabulate import tabulate_formats

from pytest_quant.report.document import Report
from pytest_quant.report.durations import durations_of


def table(*rows, format="plain", **environment):
    return [
        line.split() for line in durations_of(Report(environment, [*rows]), format).splitlines()
    ]


def test_stages_stand_in_the_order_of_the_work_and_are_summed_both_ways():
    head, *lines = table(
        plain_row(variant="fp32", seconds={"evaluate": 2.0}),
        plain_row(seconds={"evaluate": 3.0, "convert": 0.25, "own": 1.0, "prepare": 12.345}),
    )
    assert head == ["seconds", "prepare", "convert", "evaluate", "own", "total"]
    assert lines == [
        ["Net", "fp32", "-", "-", "2.00", "-", "2.00"],
        ["Net", "static", "12.3", "0.25", "3.00", "1.00", "16.6"],
        ["all", "12.3", "0.25", "5.00", "1.00", "18.6"],
    ]


def test_rows_without_any_stage_are_left_out():
    assert table(plain_row()) == [["no", "stage", "was", "timed"]]
    assert len(table(plain_row(seconds={"size": 1.0}), plain_row("Other"))) == 3


def test_with_workers_it_says_whose_seconds_they_are():
    *_, last = table(plain_row(seconds={"size": 1.0}), workers=2)
    assert " ".join(last) == "each variant's seconds are of one of the 2 workers"


@pytest.mark.parametrize("format", tabulate_formats)
def test_every_format_of_tabulate_renders(format):
    assert "12.3" in durations_of(Report({}, [plain_row(seconds={"size": 12.34})]), format)
