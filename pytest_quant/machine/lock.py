"""Lock: one run of a user at a time, never for ever, and never in silence."""

import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Any

from pytest_quant.machine.opened import leave_out
from pytest_quant.machine.turns import turn_given_back

PATIENCE = 5.0  # seconds for a holder that was stopped, or of which nothing is known
FIRST_TRY = 0.2  # seconds, in which a new holder has said who it is
LONGEST_HOLD = 360.0  # seconds; a speed gate may take 300, and what comes before it a little


@contextmanager
def locked(
    name: str,
    done: str,
    tell: Callable[[str], None],
    *,
    patience: float = PATIENCE,
    longest: float = LONGEST_HOLD,
    within: Path | None = None,
) -> Iterator[str | None]:
    """While held, no other process of this user is in a lock of this name.

    It is a file in a folder of the user's own, so that nobody else can put something in its place, with
    the holder's process id beside it. A holder that runs is waited for; one that was stopped, or has
    held it for longer than any work takes, is not.

    Args:
        name: of the lock.
        done: what happens while it is held, as a participle: ``timed``.
        tell: says at once for whom is waited.
        patience: seconds that a holder is waited for that does not run.
        longest: seconds that one may hold it.
        within: the folder of its file; default the user's own, where all runs meet.

    Yields:
        None; where it could not be had a sentence that says why, and the work is done all the same.
    """
    from filelock import FileLock

    lock: Any = None
    try:
        folder = _made(within)
        path, beside = folder / f"{name}.lock", folder / f"{name}.pid"
        for each in (path, beside):
            _refuse(each, stat.S_ISREG, "file")
        lock = FileLock(path, mode=0o600)
        if _is_free(lock, beside):
            why = None
        else:
            with turn_given_back():  # whoever holds the lock may need it
                why = _waited(lock, path, beside, tell, patience, longest)
            if why is None:
                _sign(beside)  # held since now: the turn had to come first
    except (
        OSError,
        RuntimeError,
    ) as error:  # NotImplementedError, where there are no locks, is one
        why = str(error)
    except BaseException:  # Ctrl-C while this process waits for its turn
        if lock is not None:
            lock.release(force=True)
        raise
    try:
        yield None if why is None else f"{done}, maybe beside another run: {why}"
    finally:
        if lock is not None:
            lock.release(force=True)


def taken_at_once(name: str, within: Path | None = None) -> Callable[[], None] | None:
    """Take a lock that is not waited for.

    Args:
        name, within: as of `locked`.

    Returns:
        What gives it back, as the end of this process does; None where another process of this user
        holds it. Where there are no locks it is as if nobody did.
    """
    from filelock import FileLock, Timeout

    try:
        path = _made(within) / f"{name}.lock"
        _refuse(path, stat.S_ISREG, "file")
        lock = FileLock(path, mode=0o600, thread_local=False)
        lock.acquire(timeout=0)
    except Timeout:
        return None
    except (OSError, RuntimeError):  # NotImplementedError is one
        return lambda: None
    return lambda: lock.release(force=True)


def _made(within: Path | None) -> Path:
    """The folder of a lock, which no build reads."""
    folder = within or _own_folder()
    folder.mkdir(parents=True, exist_ok=True)
    leave_out(folder)
    return folder


def _own_folder() -> Path:
    """A folder that is the user's alone.

    Raises:
        OSError: something else stands in its place.
    """
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    folder = Path(tempfile.gettempdir()) / f"pytest-quant-{user}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    _refuse(folder, stat.S_ISDIR, "folder")
    found = folder.lstat()
    if hasattr(os, "getuid") and found.st_uid != os.getuid():
        raise OSError(f"{folder} belongs to another user")
    if stat.S_IMODE(found.st_mode) != 0o700:
        folder.chmod(0o700)
    return folder


def _refuse(path: Path, is_right: Callable[[int], bool], expected: str) -> None:
    """Raise OSError for what is there and is no plain file, or folder."""
    with suppress(FileNotFoundError):
        if not is_right(mode := path.lstat().st_mode):
            kinds = {stat.S_IFLNK: "a symlink", stat.S_IFDIR: "a folder", stat.S_IFREG: "a file"}
            there = kinds.get(stat.S_IFMT(mode), "something else")
            raise OSError(f"{path} is {there}, not a {expected} of ours; remove it")


class State(StrEnum):
    """What is known of the process that holds a lock."""

    RUNS = "runs"
    STOPPED = "was stopped"
    UNSEEN = "is not seen here"


def _is_free(lock: Any, beside: Path) -> bool:
    """Take the lock if nobody holds it."""
    from filelock import Timeout

    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    _sign(beside)
    return True


def _sign(beside: Path) -> None:
    """Leave the holder's process id."""
    with suppress(OSError):
        beside.write_text(f"{os.getpid()}\n", encoding="ascii")


def _waited(
    lock: Any,
    path: Path,
    beside: Path,
    tell: Callable[[str], None],
    patience: float,
    longest: float,
) -> str | None:
    """Get the lock; else, when it is not waited for any longer, why."""
    from filelock import Timeout

    known: tuple[int | None, State] | None = None
    since = time.monotonic()
    while True:
        try:
            lock.acquire(timeout=FIRST_TRY if known is None else min(1.0, patience))
        except Timeout:
            number, state, held = _holder(beside)
        else:
            _sign(beside)
            return None
        who = "a process" if number is None else f"process {number}"
        if known != (number, state):
            known, since = (number, state), time.monotonic()
            said = "" if state is State.RUNS else f" and {state}"
            tell(f"waiting for {who}, which holds {path}{said}")
        if state is State.RUNS and held > longest:
            return f"{who} has held {path} for {held:.0f} s"
        if state is not State.RUNS and time.monotonic() - since > patience:
            return f"{who} holds {path} and {state}"


def _holder(beside: Path) -> tuple[int | None, State, float]:
    """The holder's process id, what it does, and for how many seconds it has held the lock."""
    try:
        number, held = int(beside.read_bytes()[:20]), time.time() - beside.stat().st_mtime
    except (OSError, ValueError):
        return None, State.UNSEEN, 0.0
    try:
        # "1234 (a name) T 1 ...": the state stands behind the name, which may hold anything
        said = Path(f"/proc/{number}/stat").read_bytes().rpartition(b")")[2].split()[:1]
    except OSError:
        return number, State.RUNS if _is_alive(number) else State.UNSEEN, held
    return number, State.STOPPED if said in ([b"T"], [b"t"]) else State.RUNS, held


def _is_alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        return True
    return True
