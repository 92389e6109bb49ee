"""Told causes: what the tests said of why gates were not met, by the variant, for the pages of a report."""

from collections.abc import Mapping
from itertools import takewhile
from typing import Any

from pytest_quant.errors import terminal_safe
from pytest_quant.report.document import Report
from pytest_quant.variant.key import RowKey


def causes_of_rows(report: Report) -> dict[RowKey, list[str]]:
    """The cause of each verdict that has one, as one line, without tables and code.

    What two gates of a variant have in common is told once, of the first of them.
    """
    found: dict[RowKey, dict[str, str]] = {}
    for verdict in report.verdicts:
        if sentences := _sentences(verdict):
            told = found.setdefault(RowKey.of(verdict), {})
            told.setdefault(sentences, f"{verdict['quantity']} {verdict['outcome']}")
    return {
        key: [f"{gate}: {sentences}" for sentences, gate in told.items()]
        for key, told in found.items()
    }


def _sentences(verdict: Mapping[str, Any]) -> str:
    cause = verdict.get("cause")
    if not isinstance(cause, str):
        return ""
    lines = takewhile(_is_prose, cause.splitlines())
    return terminal_safe(" ".join(line.strip() for line in lines))


def _is_prose(line: str) -> bool:
    """Whether a line is none of a table, whose columns two spaces part, nor of code."""
    return bool(line.strip()) and "  " not in line.strip() and not line.startswith("#")
