"""Atomic write: a file as a whole or not at all."""

import os
import re
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

LONGEST_NAME = 255  # bytes, on all file systems in use
RANDOM = re.compile(r"[a-z0-9_]{8}")  # what mkstemp adds; `.main.json.swp` is an editor's


def write_atomically(path: Path, content: str | bytes | Callable[[BinaryIO], Any]) -> Path:
    """Write a temporary file beside `path` and rename it: a reader sees the old file or the new.

    Temporary files of the same name that a killed process has left are removed.

    Args:
        path: of the file; its folder is made where it is missing.
        content: text (as UTF-8), bytes, or a function that writes into an open file.

    Raises:
        OSError: nothing was written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = _prefix(path.name)
    _remove_left_behind(path.parent, prefix)
    handle, temporary = _made(path.parent, prefix)
    try:
        with os.fdopen(handle, "wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content if isinstance(content, bytes) else content.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def _prefix(name: str) -> str:
    """Of a temporary file; of a long name the beginning, so that there is room for what mkstemp adds."""
    return f".{os.fsencode(name)[: LONGEST_NAME - 10].decode(errors='ignore')}."


def _made(folder: Path, prefix: str) -> tuple[int, str]:
    """A new temporary file, locked while it is open, which tells other writers that it is in use."""
    while True:
        handle, path = tempfile.mkstemp(dir=folder, prefix=prefix)
        _locked(handle, wait=True)
        if os.fstat(handle).st_nlink:
            return handle, path
        os.close(handle)  # another writer took it, unlocked as it was, for one left behind


def _remove_left_behind(folder: Path, prefix: str) -> None:
    """Remove temporary files that nobody is writing."""
    for path in folder.iterdir():
        if path.name.startswith(prefix) and RANDOM.fullmatch(path.name.removeprefix(prefix)):
            with suppress(OSError):
                _remove_unused(path)


def _remove_unused(path: Path) -> None:
    if stat.S_ISREG(path.lstat().st_mode):
        with path.open("r+b") as file:
            if _locked(file.fileno(), wait=False):
                path.unlink()


def _locked(handle: int, *, wait: bool) -> bool:
    """Lock an open file until it is closed; False where it is another's, or there are no locks."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True


def refuse_unwritable(folder: Path) -> None:
    """Raise OSError now, not after an hour of work, when nothing can be written to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass
