"""Set aside: an older report, while a run judges; a run that is killed leaves none that is not its own."""

import os
from contextlib import suppress
from pathlib import Path

NAMES = ("report.json", "report.md", "report.csv", "report.html")
ASIDE = ".before-"  # before a name


def set_aside(folder: Path) -> None:
    """Take the report in a folder out of sight."""
    for name in NAMES:
        with suppress(OSError):  # of another worker, which has done so
            os.replace(folder / name, folder / f"{ASIDE}{name}")


def put_back(folder: Path) -> None:
    """Undo `set_aside`, where no newer file stands."""
    for name in NAMES:
        if not (folder / name).exists():
            with suppress(OSError):
                os.replace(folder / f"{ASIDE}{name}", folder / name)


def forget(folder: Path) -> None:
    """Remove what was set aside."""
    for name in NAMES:
        (folder / f"{ASIDE}{name}").unlink(missing_ok=True)
