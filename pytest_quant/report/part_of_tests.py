"""Part of the tests: what a run has left out, and what must be known of it beside the answer."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_quant.report.document import Report

MOST_OLD = 8  # variants that are named
STOPPED = "the run was interrupted, so verdicts are missing"


def lacking_in(report: "Report") -> tuple[str, ...]:
    """Why verdicts may be missing from the run as a whole."""
    ran = {test["nodeid"] for test in report.tests}
    left = [nodeid for nodeid in report.deselected if nodeid not in ran]
    found = [STOPPED] if report.interrupted else []
    if left:
        found.append(f"{_counted(left, 'test')} of variants deselected: {_first(left)}")
    if report.selected:
        found.append(f"only single tests were selected: {_first(report.selected)}")
    return tuple(found)


def remarks_on(report: "Report") -> Iterator[str]:
    """What a reader must know of the run besides its answer."""
    if report.places:
        yield f"the run was limited to a part of the repo: {_first(report.places)}"
    skipped = {
        test["nodeid"]: test.get("reason") for test in report.tests if test["outcome"] == "skipped"
    }
    if skipped:
        named = [f"{nodeid} ({why})" if why else nodeid for nodeid, why in skipped.items()]
        yield f"{len(skipped)} skipped: {_first(named)}"
    if old := [
        f"{row.variant} ({', '.join(row.from_cache)})" for row in report.rows if row.from_cache
    ]:
        yield f"from the cache of an earlier run: {_first(old, MOST_OLD)}"
    if failed := report.other_failures:
        yield f"{_counted(failed, 'failed test')} that used no variant: {_first(failed)}"


def _counted(names: list[str], noun: str) -> str:
    return f"{len(names)} {noun}{'s' if len(names) > 1 else ''}"


def _first(names: list[str], most: int = 3) -> str:
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
