"""Entries: files of a folder, each whole or not there, found by a key, and of no more than some size."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.machine.atomic_write import write_atomically
from pytest_quant.machine.lock import locked
from pytest_quant.quantize.saved.tensor_file import as_bytes, content_of

FORM = "pytest-quant cache 1"
MOST = 2 * 10**9  # bytes of all entries; beyond it the least recently used go
STALE = 24 * 3600.0  # seconds after which the files of locks go
SUFFIX, LOCKS = ".entry", "locks"


@dataclass(frozen=True, slots=True)
class Key:
    """What an entry holds, and a digest of all that this depends on.

    Args:
        what: ``build``, ``evaluation`` or ``choice``: the folder.
        digest: hex digits.
    """

    what: str
    digest: str

    def __str__(self) -> str:
        return f"{self.what}/{self.digest}"


class Entries:
    """A folder of entries, which several processes use at once.

    Args:
        folder: is made when something is put there.
        tell: says one line at once to whoever watches.
        most: bytes of all entries.
    """

    def __init__(self, folder: Path, tell: Callable[[str], None], most: int = MOST) -> None:
        self.folder = folder
        self._tell = tell
        self._most = most
        self._has_told = False

    @property
    def locks(self) -> Path:
        """The folder of what only running processes need of each other."""
        return self.folder / LOCKS

    def get(self, key: Key) -> Mapping[str, Any] | None:
        """What was put under a key; None where nothing was, or where it is not as it was written."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._say(f"{path} cannot be read: {in_brief(error)}")
            return None
        try:
            content = content_of(data, path)
        except QuantStageError as error:
            self._say(error.sentence.rstrip("."))
            return None
        if content.get("form") != FORM or content.get("key") != str(key):
            self._say(f"{path} holds something else than its name says")
            return None
        with suppress(OSError):
            os.utime(path)  # used now
        return content

    def has(self, key: Key) -> bool:
        """Whether there is a file for a key, which may yet be damaged."""
        return self._path(key).exists()

    def put(self, key: Key, content: Mapping[str, Any]) -> None:
        """Keep something: tensors, numbers, texts, in dicts and lists. A full disk is told, no error."""
        path = self._path(key)
        try:
            _make_own(path.parent)
            write_atomically(path, as_bytes({**content, "form": FORM, "key": str(key)}))
        except (OSError, RuntimeError) as error:
            self._say(f"nothing could be kept in {self.folder}: {in_brief(error)}")

    @contextmanager
    def locked(self, key: Key) -> Iterator[None]:
        """While held, no other process makes what belongs under this key."""
        with suppress(OSError):  # which the lock will tell
            _make_own(self.locks)
        with locked(
            f"{key.what}-{key.digest}",
            "made",
            self._tell,
            longest=float("inf"),
            within=self.locks,
        ):
            yield

    def has_room_for(self, size: int) -> bool:
        """Whether an entry of so many bytes leaves room for others."""
        return size <= self._most // 4

    def clear(self) -> None:
        """Remove all entries, and nothing else that lies in the folder."""
        for path in self.folder.glob(f"*/*{SUFFIX}"):
            with suppress(OSError):
                path.unlink()

    def prune(self) -> None:
        """Remove the least recently used entries while all are larger than they may be, and old locks."""
        found = []
        for path in self.folder.glob(f"*/*{SUFFIX}"):
            with suppress(OSError):
                known = path.stat()
                found.append((known.st_mtime, known.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self._most:
                break
            with suppress(OSError):
                path.unlink()
                total -= size
        for path in self.locks.glob("*.[jlp]*"):  # .json, .lock, .pid
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > STALE:
                    path.unlink()

    def remove_locks(self, run: str) -> None:
        """Remove the files by which the workers of a run waited for each other, now that all have ended."""
        for path in self.locks.glob(f"*-{run}*"):
            with suppress(OSError):
                path.unlink()

    def _path(self, key: Key) -> Path:
        return self.folder / key.what / f"{key.digest}{SUFFIX}"

    def _say(self, why: str) -> None:
        """Say once why something is made anew."""
        if not self._has_told:
            self._has_told = True
            self._tell(f"cache: {why}; it is made anew")


def _make_own(folder: Path) -> None:
    """Make a folder of ours, which git is to leave alone; what lies beside it may be the user's."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".gitignore").write_text("# written by pytest-quant\n*\n", encoding="utf-8")
