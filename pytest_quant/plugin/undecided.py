"""Undecided: how pytest is told of a test whose gate is INCONCLUSIVE: neither passed nor failed."""

from typing import Any

import pytest

from pytest_quant.judge.recorder import Running
from pytest_quant.judge.speed_cell import is_speed
from pytest_quant.judge.verdict import Outcome, Verdict


def mark_undecided(
    report: Any, item: pytest.Item, call: pytest.CallInfo[None], test: Running
) -> None:
    """Turn a passed test with an INCONCLUSIVE verdict into one that says so; the same of a fixture's gate
    that is judged when the test is over."""
    if call.when == "setup" or not (report.passed or _passed_against_xfail(report, item, call)):
        return
    undecided = [v for v in test.verdicts if v.outcome is Outcome.INCONCLUSIVE]
    if not undecided:
        return
    reason = "\n".join(verdict.sentence for verdict in undecided)
    if any(_fails(verdict, test.inconclusive) for verdict in undecided):
        report.outcome, report.longrepr = "failed", reason
        report.quant_inconclusive, report.quant_reason = True, undecided[0].sentence
        return
    path, line, _ = item.location
    report.outcome, report.longrepr = "skipped", (path, line or 0, reason)
    report.quant_inconclusive = True


def _passed_against_xfail(report: Any, item: pytest.Item, call: pytest.CallInfo[None]) -> bool:
    """Whether a test that raised nothing fails since it is marked ``xfail(strict=True)``. What could not
    be decided is no proof that the failure that was expected is gone."""
    is_marked = item.get_closest_marker("xfail") is not None
    return bool(report.failed and call.excinfo is None and is_marked)


def _fails(verdict: Verdict, inconclusive: str) -> bool:
    if inconclusive == "auto":
        return not is_speed(verdict.quantity)
    return inconclusive == "fail"
