"""A lock that one holder has at a time, that nobody waits for in silence, and none for ever."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_quant.machine.lock import locked, taken_at_once
from pytest_quant.machine.opened import opened
from pytest_quant.machine.turns import Turns

HOLDER = """
import sys, time
from pytest_quant.machine.lock import locked

with locked("timing", "timed", print) as why:
    print(why, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The user's own folder, in a temporary folder of the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path / f"pytest-quant-{os.getuid()}"


@contextmanager
def holder():
    """Another process that holds the lock, until its standard input ends."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=pipe, stdout=pipe, text=True
    ) as other:
        assert other.stdout.readline() == "None\n"
        try:
            yield other
        finally:
            other.send_signal(signal.SIGCONT)
            other.stdin.close()


def wait_until_stopped(pid):
    while b") T" not in Path(f"/proc/{pid}/stat").read_bytes():
        time.sleep(0.01)


def tried(**how):
    """What the lock says, and what it tells."""
    told = []
    with locked("timing", "timed", told.append, **how) as why:
        return why, told


def test_the_lock_is_in_a_folder_of_the_users_own(folder):
    assert tried() == (None, [])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / "timing.pid").read_text() == f"{os.getpid()}\n"
    folder.chmod(0o755)
    assert tried() == (None, [])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_locks_of_two_names_do_not_wait_for_each_other():
    with locked("report", "written", pytest.fail) as why:
        assert why is None
        assert tried() == (None, [])


def test_it_is_given_back_after_an_error():
    with pytest.raises(KeyError), locked("timing", "timed", pytest.fail):
        raise KeyError
    assert tried() == (None, [])


def test_a_holder_that_was_stopped_is_named_and_left_after_a_while(folder):
    with holder() as other:
        other.send_signal(signal.SIGSTOP)
        wait_until_stopped(other.pid)
        why, told = tried(patience=0.1)
    lock = folder / "timing.lock"
    assert why == (
        f"timed, maybe beside another run: process {other.pid} holds {lock} and was stopped"
    )
    assert told == [f"waiting for process {other.pid}, which holds {lock} and was stopped"]
    assert tried() == (None, [])


def test_a_holder_that_runs_is_waited_for_as_long_as_work_may_take(folder):
    with holder() as other:
        told = []

        def tell(line):
            told.append(line)
            other.stdin.close()  # so that it ends while it is waited for

        with locked("timing", "timed", tell, patience=0.1) as why:
            assert why is None
    assert told == [f"waiting for process {other.pid}, which holds {folder / 'timing.lock'}"]


def test_a_holder_that_runs_for_ever_is_left_too(folder):
    with holder() as other:
        why, _ = tried(longest=0.0)
    assert why.startswith(f"timed, maybe beside another run: process {other.pid} has held {folder}")


@pytest.mark.parametrize("text", ["", "no number", "999999999", "9" * 400])
def test_a_holder_that_nobody_knows_is_left_after_a_while(folder, text):
    with holder():
        (folder / "timing.pid").write_text(text)
        why, told = tried(patience=0.1)
    assert why.endswith("is not seen here")
    assert len(told) == 1


def as_folder(path, _):
    path.mkdir()


def as_symlink(path, aim):
    path.symlink_to(aim)


def as_pipe(path, _):
    os.mkfifo(path)


@pytest.mark.parametrize("put", [as_folder, as_symlink, as_pipe])
@pytest.mark.parametrize("name", ["timing.lock", "timing.pid"])
def test_what_stands_in_the_place_of_the_lock_is_said_and_left_alone(tmp_path, folder, put, name):
    aim = tmp_path / "precious.txt"
    aim.write_text("precious")
    folder.mkdir(0o700)
    put(folder / name, aim)
    why, told = tried()
    assert why.startswith(f"timed, maybe beside another run: {folder / name} is ")
    assert why.endswith(", not a file of ours; remove it")
    assert told == []
    assert aim.read_text() == "precious"


def test_what_stands_in_the_place_of_the_folder_is_said_and_left_alone(tmp_path, folder):
    folder.write_text("a file")
    assert tried()[0].endswith(f"{folder} is a file, not a folder of ours; remove it")
    folder.unlink()
    aim = tmp_path / "elsewhere"
    aim.mkdir(mode=0o755)
    folder.symlink_to(aim)
    assert tried()[0].endswith(f"{folder} is a symlink, not a folder of ours; remove it")
    assert list(aim.iterdir()) == []


def test_where_no_folder_can_be_made_work_is_done_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    assert "No such file or directory" in tried()[0]


@pytest.mark.parametrize("where", ["own", "given"])
def test_no_build_reads_the_locks_that_another_process_holds(tmp_path, where):
    within = None if where == "own" else tmp_path / "locks"
    folder = (within or tmp_path) / "turns"
    other, own = Turns(folder, "turn", 1), Turns(folder, "turn", 1, longest=0.0)
    give_back = taken_at_once("claim", within)
    with other.taken(), opened() as files:
        assert taken_at_once("claim", within) is None
        with own.taken():
            pass
    give_back()
    assert files.digests() == {}
