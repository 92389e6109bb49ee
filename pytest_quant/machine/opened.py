"""Opened: which files code reads while it runs, so that a change of one is noticed by a later run."""

import hashlib
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pytest_quant.machine.libraries import is_installed, own_modules
from pytest_quant.machine.sources import ChangedSource

ELSEWHERE = ("/proc/", "/sys/", "/dev/")  # of the system, and no files
MADE = os.O_TRUNC | os.O_EXCL  # of flags: what is in it then, this process has written
GRAIN = 0.01  # seconds by which the clock of a file system may be late

_watches: list["Opened"] = []
_paused = threading.local()
_digests: dict[tuple[str, int, int, int], str] = {}


class Opened:
    """The files that were opened for reading while it watched, installed ones aside.

    Seen is what this process opens by Python: not what a library opens by its own means, nor what another
    process does.
    """

    def __init__(self) -> None:
        self._since = time.time() - GRAIN
        self._modules = {path for _, path in own_modules()}
        self._read: dict[str, None] = {}
        self._made: set[str] = set()

    def note(self, path: str, flags: int) -> None:
        """A file was opened, or is about to be."""
        if flags & MADE:
            self._made.add(path)
        elif not flags & os.O_WRONLY and path not in self._made:
            self._read[path] = None

    def moved(self, path: str, to: str) -> None:
        """A file has another name now."""
        if path in self._made:
            self._made.add(to)

    def digests(self) -> dict[str, str | None]:
        """A digest of the content of each by its path, in the order in which they were read, and of the
        modules that were loaded in the meantime; None of what was asked for and is not there. What was
        loaded as a module before is left out.

        Raises:
            ChangedSource: one was changed since, by whomever; names it.
        """
        loaded = {path for _, path in own_modules()}
        found = [path for path in self._read if path not in loaded and path not in self._made]
        return {
            path: self._digest_of(path)
            for path in (*found, *sorted(loaded - self._modules))
            if not os.path.isdir(path)
        }

    def _digest_of(self, path: str) -> str | None:
        try:
            if os.stat(path).st_mtime > self._since:
                raise ChangedSource(f"{path} was changed while the run ran")
        except OSError:
            return None
        return digest_of(path)


@contextmanager
def opened() -> Iterator[Opened]:
    """Watches, in all threads, which files are opened inside."""
    _listen()
    watch = Opened()
    _watches.append(watch)
    try:
        yield watch
    finally:
        _watches.remove(watch)


@contextmanager
def unnoticed() -> Iterator[None]:
    """In which this thread may open files that count by what is made of them."""
    before = getattr(_paused, "is_on", False)
    _paused.is_on = True
    try:
        yield
    finally:
        _paused.is_on = before


def are_unchanged(files: Mapping[str, str | None], folder: str) -> bool:
    """Whether files have the content that `Opened.digests` told of them.

    Args:
        files: that were read.
        folder: the current one then; where a file in it is gone it is looked for in that of now, as after
            another checkout.
    """
    return all(digest_of(_now(path, folder)) == digest for path, digest in files.items())


def _now(path: str, folder: str) -> str:
    below = os.path.join(folder, "")
    if path.startswith(below) and not os.path.exists(path):
        return os.path.abspath(path.removeprefix(below))
    return path


def digest_of(path: str) -> str | None:
    """Hex digits of a file's content, BLAKE2b; None where it cannot be read."""
    try:
        known = os.stat(path)
        key = (path, known.st_mtime_ns, known.st_size, known.st_ino)
        if key not in _digests:
            with unnoticed(), open(path, "rb") as file:
                found = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
            _digests[key] = found.hexdigest()
    except OSError:
        return None
    return _digests[key]


_is_listening = False


def _listen() -> None:
    """Hear of every file that this process opens; a hook cannot be taken away again."""
    global _is_listening
    if not _is_listening:
        _is_listening = True
        sys.addaudithook(_hear)


def _hear(event: str, given: tuple[Any, ...]) -> None:
    if not _watches or event not in ("open", "os.rename"):
        return
    try:
        if getattr(_paused, "is_on", False) or isinstance(given[0], int):
            return
        path = _whole(given[0])
        if event == "os.rename":
            to = _whole(given[1])
            for watch in _watches:
                watch.moved(path, to)
        elif not (_is_of_no_user(path) or is_installed(path)):
            for watch in _watches:
                watch.note(path, given[2])
    except Exception:  # nothing of ours may fail in the middle of somebody's `open`
        return


def _whole(path: Any) -> str:
    return os.path.abspath(os.fsdecode(path))


def _is_of_no_user(path: str) -> bool:
    return path.startswith(ELSEWHERE) or f"{os.sep}__pycache__{os.sep}" in path
