"""Atomic write: a file as a whole or not at all."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO


def write_atomically(path: Path, content: str | bytes | Callable[[BinaryIO], Any]) -> Path:
    """Write a temporary file beside `path` and rename it: a reader sees the old file or the new.

    Args:
        path: of the file; its folder is made where it is missing.
        content: text (as UTF-8), bytes, or a function that writes into an open file.

    Raises:
        OSError: nothing was written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
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


def refuse_unwritable(folder: Path) -> None:
    """Raise OSError now, not after an hour of work, when nothing can be written to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass
