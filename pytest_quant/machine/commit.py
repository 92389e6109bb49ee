"""Commit: which state of a repo a run is of, as far as git tells it at once."""

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

PATIENCE = 3.0  # seconds; a repo of 100,000 files takes about half a second
# Neither a lock, nor a prompt, nor a daemon that outlives the call.
QUIET = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
GIT = ("git", "-c", "core.fsmonitor=false", "-c", "core.untrackedCache=false")


def commit_of(folder: Path) -> dict[str, Any]:
    """``commit``, and ``dirty``: whether files that git follows are other than in it, as plain JSON types.

    What git does not tell is left out: all of it where there is no git, no repo and no commit.
    """
    commit = (_told(folder, "rev-parse", "--verify", "--quiet", "HEAD") or "").strip()
    if not commit:
        return {}
    changed = _told(folder, "status", "--porcelain", "--untracked-files=no", "--ignore-submodules")
    known: dict[str, Any] = {"commit": commit}
    return known if changed is None else known | {"dirty": bool(changed)}


def _told(folder: Path, *arguments: str) -> str | None:
    """What a command of git prints; None where it fails or takes too long.

    It writes to a file, since a pipe is held open by whatever git has started.
    """
    with tempfile.TemporaryFile() as file:
        try:
            done = subprocess.run(
                [*GIT, *arguments],
                cwd=folder,
                env=os.environ | QUIET,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.DEVNULL,
                timeout=PATIENCE,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        file.seek(0)
        return file.read().decode(errors="replace") if done.returncode == 0 else None
