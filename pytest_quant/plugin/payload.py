"""Payload: what the report of a test carries of its variants, as plain JSON types."""

from typing import Any

from pytest_quant.baseline.row import Row
from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.explain.causes import cause, topic_of
from pytest_quant.explain.effort import Effort
from pytest_quant.explain.lost.locate import explain
from pytest_quant.judge.recorder import Running
from pytest_quant.measure.work import work_of
from pytest_quant.plugin.settings import Settings
from pytest_quant.report.rows import row_of
from pytest_quant.variant.key import key_of
from pytest_quant.variant.variant import Variant


def payload_of(test: Running, environment: dict[str, Any]) -> dict[str, Any]:
    """Rows and verdicts of a test, with what decides whether they can be compared."""
    rows = [*test.failed, *map(_row, test.variants)]
    verdicts = [{**verdict.to_dict(), "test": test.nodeid} for verdict in test.verdicts]
    return {
        "environment": environment,
        "rows": [row.to_dict() for row in rows],
        "verdicts": verdicts,
    }


def causes_of(test: Running, settings: Settings) -> list[str]:
    """Of each limit that is not met the cause; told once for a variant, whatever gates it breaches."""
    found, told = list[str](), set[tuple[Any, ...]]()
    unmet = [verdict for verdict in test.verdicts if not verdict.passed]
    seconds = settings.mend_seconds if settings.mend else 0.0
    effort = Effort(settings.explain_seconds, seconds)
    for verdict in sorted(test.verdicts, key=lambda each: each.gate == "max_flips"):
        key, topic = verdict.key, (verdict.key, topic_of(verdict) or verdict.gate)
        for variant in test.variants:
            if key_of(variant) != key or topic in told:
                continue
            if text := cause(verdict, variant, effort):
                name = f"{verdict.quantity} {verdict.outcome} of {verdict.variant}:\n"
                found.append(text if len(unmet) == 1 else f"{name}{text}")
                told.add(topic)
    return found


def explain_all(test: Running) -> None:
    """Look into every variant of a test, as --quant-explain asks; what cannot be looked into says so."""
    for variant in test.variants:
        if not variant.is_fp32:
            try:
                explain(variant)
            except QuantStageError as error:
                variant.notes.append(f"could not be explained: {error.sentence}")


def _row(variant: Variant) -> Row:
    """A variant's row; whatever cannot be worked out for the table is told there, and ends no run."""
    try:
        if variant.is_fp32 and variant.measured("evaluation") is not None:
            work_of(variant)  # counted once, for the report, which runs no model
        return row_of(variant)
    except Exception as error:
        return Row.blank(key_of(variant), f"report ERROR: {in_brief(error)}")
