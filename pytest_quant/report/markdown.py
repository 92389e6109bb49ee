"""Markdown: the report as a page for a pull request or a release checklist."""

import re

from pytest_quant.report.document import Report
from pytest_quant.report.frame import frame_of
from pytest_quant.report.table import table_of
from pytest_quant.report.terminal import header, remarks

MARKS = {"PASS": "✅", "FAIL": "❌", "INCONCLUSIVE": "❔"}


def markdown_of(report: Report) -> str:
    """The page: table, one line for each gate, notes."""
    frame = frame_of(report)
    for column in ("model", "variant", "metric", "gates"):
        frame[column] = frame[column].map(escaped, na_action="ignore")
    parts = ["# Quantization report", "", table_of(frame, "pipe"), ""]
    if report.environment:
        parts[2:2] = [escaped(header(report)), ""]
    for verdict in report.verdicts:
        parts.append(f"- {MARKS[verdict['outcome']]} {escaped(verdict['sentence'])}")
    notes = [f"- {escaped(line)}" for line in remarks(report)]
    if notes:
        parts += ["", "Notes:", "", *notes]
    return "\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """A text that stays text in Markdown: no HTML, no table bars, no line breaks."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", " ".join(text.split()))
