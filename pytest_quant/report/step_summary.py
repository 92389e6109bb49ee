"""Step summary: the Markdown page appended to what GitHub shows of a job, never at the run's expense."""

import os
from collections.abc import Iterator
from pathlib import Path

from pytest_quant.report.document import Report
from pytest_quant.report.markdown import markdown_of

MOST = 1024 * 1024  # bytes: GitHub drops the whole summary of a step that is larger


def summary_appended(report: Report) -> Iterator[str]:
    """Append report.md to $GITHUB_STEP_SUMMARY, if it is set; a line of what became of it."""
    name = os.environ.get("GITHUB_STEP_SUMMARY")
    if not name:
        return
    try:
        added = append(Path(name), markdown_of(report))
    except OSError as error:
        yield f"the step summary was not written: {error}"
        return
    if not added:
        yield "the step summary was not written: GitHub takes 1 MiB, and that is full"


def append(path: Path, page: str) -> bool:
    """Append a page to a file, after an empty line; False when it would grow beyond `MOST`.

    Raises:
        OSError: the file cannot be read or written, or is a device or a pipe, which may have no end.
    """
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is no regular file")
    with path.open("a+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 2))
        end = file.read()
        gap = (
            b"" if not size or end.endswith(b"\n\n") else b"\n" if end.endswith(b"\n") else b"\n\n"
        )
        text = gap + page.encode("utf-8")
        if size + len(text) > MOST:
            return False
        file.write(text)
    return True
