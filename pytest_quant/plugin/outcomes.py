"""Outcomes: how each test of a variant ended, as pytest's reports tell it; plain data for the report."""

import contextlib
from difflib import get_close_matches
from typing import Any

import pytest

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.judge.recorder import Running
from pytest_quant.plugin.items import variants_of
from pytest_quant.plugin.selection import may_ask_by_name
from pytest_quant.report.document import Report
from pytest_quant.variant.key import key_of

LOST = "it asks for the fixture"  # begins the reason where there is none
NOTE = "fixture ERROR"  # begins what is noted on an error of the user's own fixture


def mark(report: Any, item: pytest.Item, call: "pytest.CallInfo[None]", test: Running) -> None:
    """Tell a pytest report, which may cross processes, what variants its test is of, and why it failed."""
    keys = [*map(key_of, test.variants), *(row.key for row in test.failed)]
    looked_at: list[dict[str, str | None]] = [{**key.to_dict()} for key in keys]
    named = {key.variant for key in keys}
    looked_at += [
        {"where": None, "model": None, "variant": name}
        for name in sorted(variants_of(item) - named)
    ]
    # Of a fixture that there is not, nobody knows what its test was to judge.
    is_ours = call.excinfo is not None and call.excinfo.errisinstance(
        (QuantStageError, pytest.FixtureLookupError)
    )
    if not (looked_at or (report.failed and (is_ours or may_ask_by_name(item)))):
        return
    report.quant_variants = looked_at
    if looked_at:
        with contextlib.suppress(pytest.UsageError):  # of a wrong one, which the gates tell
            report.quant_limits = dict(test.limits)
    if call.excinfo is not None and report.failed:
        report.quant_reason = _reason(call.excinfo.value)
    elif report.failed and isinstance(report.longrepr, str):  # pytest's own, of a strict xfail
        report.quant_reason = " ".join(report.longrepr.split())[:300]


def take_in(document: Report, report: Any) -> None:
    """Add to the run's report what a report of pytest tells; nothing of a try that announces another."""
    if is_tried_again(report):
        return
    if payload := getattr(report, "quant", None):
        ended = {"ended": outcome_of(report)}
        verdicts = [{**verdict, **ended} for verdict in payload["verdicts"]]
        document.add({**payload, "verdicts": verdicts})
    if ending := ending_of(report):
        document.add_test(ending)
    elif report.failed and report.nodeid not in document.other_failures:
        document.other_failures.append(report.nodeid)


def ending_of(report: Any) -> dict[str, Any] | None:
    """An entry of the report's tests, or None while a phase tells nothing new, or of no variant."""
    if report.when not in ("setup", "call", "teardown"):
        # pytest-xdist's own report of a test that took its worker down: of which variant, nobody knows
        reason = "the worker that ran it crashed"
        return {"nodeid": report.nodeid, "outcome": "error", "variants": [], "reason": reason}
    variants = getattr(report, "quant_variants", None)
    if variants is None or (report.when != "call" and report.passed):
        return None
    if report.when == "teardown" and not report.failed:
        return None
    return {
        "nodeid": report.nodeid,
        "outcome": outcome_of(report),
        "variants": variants,
        "reason": getattr(report, "quant_reason", None) or _why_skipped(report),
        "limits": getattr(report, "quant_limits", {}),
    }


def _why_skipped(report: Any) -> str | None:
    """Why pytest has skipped a test or file, as it was told; None where it was not skipped."""
    if not report.skipped or not isinstance(report.longrepr, tuple) or hasattr(report, "wasxfail"):
        return None
    return " ".join(str(report.longrepr[-1]).removeprefix("Skipped: ").split())[:300]


def uncollected(report: Any) -> dict[str, Any]:
    """An entry for a file or folder of which nothing was collected, so that gates may be missing."""
    if report.skipped:
        why = _why_skipped(report)
        return {"nodeid": report.nodeid, "outcome": "skipped", "variants": [], "reason": why}
    lines = str(report.longrepr).strip().splitlines() or ["it could not be collected"]
    reason = next((line for line in reversed(lines) if line.startswith("E ")), lines[-1])
    return {
        "nodeid": report.nodeid,
        "outcome": "error",
        "variants": [],
        "reason": " ".join(reason.removeprefix("E ").split())[:300],
    }


def is_tried_again(report: Any) -> bool:
    """Whether a report says of itself that its test is run once more, as reruns of a plugin do.

    Nothing of such a try counts: the next one tells all again.
    """
    return bool(report.outcome == "rerun")


def outcome_of(report: Any) -> str:
    """How pytest counts a report, in a word of the report's tests."""
    if getattr(report, "quant_inconclusive", False) and not report.passed:
        return "inconclusive"
    if report.failed:
        is_error = report.when != "call" or getattr(report, "quant_error", False)
        return "error" if is_error else "failed"
    if hasattr(report, "wasxfail"):
        return "xfailed" if report.skipped else "xpassed"
    return "skipped" if report.skipped else "passed"


def _lost(fixture: str) -> str:
    """What to say of a fixture that a test asks for and that there is not, or not for this test."""
    from pytest_quant.plugin import fixtures

    ours = [name for name in vars(fixtures) if name.startswith("quant_")]
    near = [name for name in get_close_matches(fixture, ours, n=1, cutoff=0.7) if name != fixture]
    meant = f"; did you mean {near[0]}?" if near else ""
    return f"{LOST} {fixture}, which it cannot have{meant}"


def is_lost(reason: str) -> bool:
    """Whether a reason is our own of a fixture that there is not, which pytest tells in other words."""
    return reason.startswith(LOST)


def _reason(error: BaseException) -> str:
    if isinstance(error, QuantStageError):
        return str(error)
    if isinstance(error, pytest.FixtureLookupError):
        return _lost(str(error.argname))
    return str(getattr(error, "__notes__", [in_brief(error)])[-1])
