"""Spreadsheet: report.csv, in which every name is a text and none a formula."""

from pytest_quant.report.document import Report
from pytest_quant.report.frame import SINCE, TEXTS, frame_of
from pytest_quant.report.text import in_spreadsheet


def spreadsheet_of(report: Report) -> str:
    """The frame as CSV; numbers stay numbers, what is not known is empty."""
    frame = frame_of(report)
    changed = (column for column in frame.columns if column.startswith(SINCE))
    for column in (*TEXTS, *changed):
        frame[column] = frame[column].map(in_spreadsheet, na_action="ignore")
    return str(frame.to_csv(index=False))
