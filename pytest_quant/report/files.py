"""Files: what `--quant-report=DIR` writes; each whole or not at all, and no other model's report lost."""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from pytest_quant.errors import in_brief
from pytest_quant.machine.atomic_write import write_atomically
from pytest_quant.machine.lock import locked
from pytest_quant.report.document import Report
from pytest_quant.report.html import html_of
from pytest_quant.report.markdown import markdown_of
from pytest_quant.report.set_aside import NAMES, forget, put_back, set_aside
from pytest_quant.report.spreadsheet import spreadsheet_of
from pytest_quant.variant.key import RowKey

LONGEST_WRITE = 60.0  # seconds that another run may take to write its report
STALE = 3600.0  # seconds; a temporary file that old was left by a run that was killed


def report_written(report: Report, folder: Path) -> Iterator[str]:
    """Write the report, all of it or nothing; a line for each file, or of why there is none."""
    said: list[str] = []
    try:
        put_back(folder)
        paths = write_report(report, folder, said.append)
    except Exception as error:  # whatever it is, the run has its verdicts
        set_aside(folder)  # rather no report than an older one, or a part of this one
        why = error if isinstance(error, OSError) else in_brief(error)
        yield f"the report was not written, and none is in {folder} now: {why}"
        return
    forget(folder)
    yield from said
    for path in paths:
        yield f"written: {path}" if path.name in NAMES else f"kept, with other variants: {path}"
    if folder / "report.html" not in paths:
        yield "report.html was not written: pip install 'pytest-quant[html]'"


def write_report(
    report: Report, folder: Path, tell: Callable[[str], None] = lambda line: None
) -> list[Path]:
    """report.html, report.json, report.md and report.csv; returns their paths.

    A report.json that is there already and knows a variant that this report does not is kept as
    report.previous.json (report.previous-2.json, ... where that is a report of yet others), so
    that two runs into one folder lose nothing. A user's runs on one machine wait for each other;
    `tell` hears of it.
    """
    texts = {
        "report.json": report.to_json(),
        "report.md": markdown_of(report),
        "report.csv": spreadsheet_of(report),
    }
    with suppress(ModuleNotFoundError):  # jinja2; torch brings it, so it is seldom missing
        texts["report.html"] = html_of(report)
    folder.mkdir(parents=True, exist_ok=True)
    with locked("report", "the report was written", tell, longest=LONGEST_WRITE) as beside:
        if beside is not None:
            tell(beside)
        _remove_stale(folder)
        paths = _keep_other(report, folder)
        return [*(write_atomically(folder / name, text) for name, text in texts.items()), *paths]


def _keep_other(report: Report, folder: Path) -> list[Path]:
    """Copy the report.json that is there aside, if it knows what this report does not."""
    there = folder / "report.json"
    if not there.is_file():
        return []
    new = {row.key for row in report.rows}
    old = _rows_in(there)
    if old is not None and old <= new:
        return []
    for count in itertools.count(1):
        kept = folder / f"report.previous{f'-{count}' if count > 1 else ''}.json"
        known = _rows_in(kept) if kept.exists() else set()
        if known is not None and known <= new | (old or set()):
            break
    return [write_atomically(kept, there.read_bytes())]


def _rows_in(path: Path) -> set[RowKey] | None:
    """What a report.json is of; None when it is none that can be read."""
    with suppress(ValueError, OSError):
        return {row.key for row in Report.from_json(path.read_text(encoding="utf-8")).rows}
    return None


def _remove_stale(folder: Path) -> None:
    for path in folder.glob(".report.*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > STALE:
                path.unlink()
