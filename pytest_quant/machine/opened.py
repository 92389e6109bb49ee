"""Opened: which files code reads while it runs, so that a change of one is noticed by a later run."""

import hashlib
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest_quant.machine.libraries import is_installed, own_modules
from pytest_quant.machine.sources import ChangedSource

ELSEWHERE = ("/proc/", "/sys/", "/dev/")  # of the system, and no files
MADE = os.O_TRUNC | os.O_EXCL  # of flags: what is in it then, this process has written
GRAIN = 0.01  # seconds by which the clock of a file system may be late

_watches: list["Opened"] = []
_own_folders: set[str] = set()
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
        self._read: dict[str, bool] = {}
        self._made: set[str] = set()

    def note(self, path: str, flags: int, is_relative: bool) -> None:
        """A file was opened, or is about to be; by a name that is taken from the current folder, or not."""
        if flags & MADE:
            self._made.add(path)
        elif not flags & os.O_WRONLY and path not in self._made:
            self._read[path] = self._read.get(path, False) or is_relative

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

    def told(self, root: str) -> dict[str, Any]:
        """The same as plain data, with what tells where a later run would read them.

        Args:
            root: the folder of the repo.

        Raises:
            ChangedSource: as `digests`.
        """
        digests = self.digests()
        relative = [path for path in digests if self._read.get(path)]
        return {"digests": digests, "relative": relative, "folders": [os.getcwd(), root]}

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


def leave_out(folder: Path) -> None:
    """Watch no files below a folder: it is ours, and its files count by what they are made of."""
    _own_folders.add(_with_end(folder))


def watch_again(folder: Path) -> None:
    """What is made at this place from now on is somebody else's."""
    _own_folders.discard(_with_end(folder))


def _with_end(folder: Path) -> str:
    return os.path.join(os.path.abspath(folder), "")


@contextmanager
def unnoticed() -> Iterator[None]:
    """In which this thread may open files that count by what is made of them."""
    before = getattr(_paused, "is_on", False)
    _paused.is_on = True
    try:
        yield
    finally:
        _paused.is_on = before


def are_unchanged(told: Mapping[str, Any], root: str) -> bool:
    """Whether files have the content that `Opened.told` says.

    In another place, such as another checkout, code reads what lies there. A name may have been made of
    the folder of the repo or not, so that where both files are there, both must be as they were.

    Args:
        told: of the files that were read.
        root: the folder of the repo, of now.
    """
    moved = [*zip(told.get("folders", ()), (os.getcwd(), root), strict=False)]
    relative = {*told.get("relative", ())}
    for path, digest in told.get("digests", {}).items():
        asked = moved if path in relative else moved[1:]
        here = [_beside(path, then, now) for then, now in asked if then != now]
        found = [each for each, is_below in here if is_below or os.path.exists(each)]
        if not found or os.path.exists(path):
            found.append(path)
        if any(digest_of(each) != digest for each in found):
            return False
    return True


def _beside(path: str, then: str, now: str) -> tuple[str, bool]:
    """Where a file would lie now that lay so beside a folder then, and whether that is below it."""
    way = os.path.relpath(path, then)
    return os.path.normpath(os.path.join(now, way)), not way.startswith(os.pardir)


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
                watch.note(path, given[2], not os.path.isabs(os.fsdecode(given[0])))
    except Exception:  # nothing of ours may fail in the middle of somebody's `open`
        return


def _whole(path: Any) -> str:
    return os.path.abspath(os.fsdecode(path))


def _is_of_no_user(path: str) -> bool:
    if path.startswith(tuple(_own_folders)):
        return True
    return path.startswith(ELSEWHERE) or f"{os.sep}__pycache__{os.sep}" in path
