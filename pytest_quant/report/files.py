"""Files: what `--quant-report=DIR` writes; whole or not at all."""

import os
import tempfile
from pathlib import Path

from pytest_quant.report.document import Report
from pytest_quant.report.frame import frame_of
from pytest_quant.report.markdown import markdown_of


def write_report(report: Report, folder: Path) -> list[Path]:
    """report.json, report.md and report.csv; returns their paths."""
    return [
        write_atomically(folder / "report.json", report.to_json()),
        write_atomically(folder / "report.md", markdown_of(report)),
        write_atomically(folder / "report.csv", frame_of(report).to_csv(index=False)),
    ]


def write_atomically(path: Path, text: str) -> Path:
    """Write a temporary file beside `path` and rename it: a reader sees the old file or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def refuse_unwritable(folder: Path) -> None:
    """Raise OSError now, not after an hour of work, when nothing can be written to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass
