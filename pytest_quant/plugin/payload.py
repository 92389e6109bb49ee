"""Payload: what the report of a test carries of its variants, as plain JSON types."""

from collections.abc import Sequence
from typing import Any

from pytest_quant.baseline.row import Row
from pytest_quant.errors import QuantStageError, in_brief, terminal_safe
from pytest_quant.explain.causes import cause, topic_of
from pytest_quant.explain.effort import Effort
from pytest_quant.explain.lost.locate import explain
from pytest_quant.judge.recorder import Running
from pytest_quant.judge.verdict import Verdict
from pytest_quant.measure.work import work_of
from pytest_quant.plugin.settings import Settings
from pytest_quant.report.explained import PARTS
from pytest_quant.report.rows import row_of
from pytest_quant.variant.key import key_of
from pytest_quant.variant.variant import Variant

MOST_CAUSE = 8000  # characters


def payload_of(
    test: Running, environment: dict[str, Any], causes: Sequence[tuple[Verdict, str]] = ()
) -> dict[str, Any]:
    """Rows and verdicts of a test, with what decides whether they can be compared.

    Args:
        test: that has ended, or a phase of it.
        environment: of the run.
        causes: of verdicts of this test, as `causes_of` gives them.
    """
    rows = [*test.failed, *map(_row, test.variants)]
    told = {id(verdict): {"cause": terminal_safe(text)[:MOST_CAUSE]} for verdict, text in causes}
    verdicts = [
        {**verdict.to_dict(), **told.get(id(verdict), {}), "test": test.nodeid}
        for verdict in test.verdicts
    ]
    return {
        "environment": environment,
        "rows": [row.to_dict() for row in rows],
        "verdicts": verdicts,
    }


def sections_of(causes: Sequence[tuple[Verdict, str]], test: Running) -> list[str]:
    """Causes as the terminal shows them; each says of what it is where a test has several unmet limits."""
    if sum(not verdict.passed for verdict in test.verdicts) == 1:
        return [terminal_safe(text) for _, text in causes]
    return [
        terminal_safe(f"{verdict.quantity} {verdict.outcome} of {verdict.variant}:\n{text}")
        for verdict, text in causes
    ]


def causes_of(test: Running, settings: Settings) -> list[tuple[Verdict, str]]:
    """Of each limit that is not met the cause; told once for a variant, whatever gates it breaches."""
    found, told = list[tuple[Verdict, str]](), set[tuple[Any, ...]]()
    seconds = settings.mend_seconds if settings.mend else 0.0
    effort = Effort(settings.explain_seconds, seconds)
    unknown = [(v, part) for v in test.variants for part in PARTS if v.measured(part) is None]
    for verdict in sorted(test.verdicts, key=lambda each: each.gate == "max_flips"):
        key, topic = verdict.key, (verdict.key, topic_of(verdict) or verdict.gate)
        for variant in test.variants:
            if key_of(variant) != key or topic in told:
                continue
            if text := cause(verdict, variant, effort):
                found.append((verdict, text))
                told.add(topic)
    test.looked_into += [(v, part) for v, part in unknown if v.measured(part) is not None]
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
