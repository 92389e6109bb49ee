"""report.csv: numbers are numbers, names are texts."""

import io

import pandas as pd
from builders import latency_cells, metric_cells, plain_row

from pytest_quant.report.document import Report
from pytest_quant.report.spreadsheet import spreadsheet_of


def test_names_are_no_formulas_and_numbers_stay_numbers():
    row = plain_row(
        "=1+1", "@x", metrics=[metric_cells("-m", 0.9, drop=-0.01)], latency=latency_cells()
    )
    read = pd.read_csv(io.StringIO(spreadsheet_of(Report({}, [row]))))
    assert read.loc[0, ["model", "variant", "metric"]].tolist() == ["'=1+1", "'@x", "'-m"]
    assert read.loc[0, "drop"] == -0.01


def test_a_comma_a_quote_and_a_line_break_stay_in_their_cell():
    names = ['a,b"c', "one\ntwo"]
    read = pd.read_csv(io.StringIO(spreadsheet_of(Report({}, [plain_row(name) for name in names]))))
    assert read["model"].tolist() == ['a,b"c', "one two"]
