"""Entries: whole or not there; what is damaged, swapped or gone is a miss, told once, and never taken."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch

from pytest_quant.store.cache.entries import Entries, Key

KEY, OTHER = Key("build", "a" * 32), Key("build", "b" * 32)


@pytest.fixture
def told():
    return []


@pytest.fixture
def entries(tmp_path, told):
    return Entries(tmp_path / "cache", told.append)


def content(value=1.0):
    return {"known": "{}", "tensor": torch.full((40,), value)}


def file_of(entries, key=KEY):
    return entries.folder / key.what / f"{key.digest}.entry"


def test_what_was_put_comes_back(entries, told):
    assert entries.get(KEY) is None
    entries.put(KEY, content(2.0))
    assert entries.has(KEY)
    assert entries.get(KEY)["tensor"].tolist() == [2.0] * 40
    assert entries.get(OTHER) is None
    assert not told


def damaged(data, rng):
    """A file of the same name that is not as it was written."""
    way = rng.randrange(3)
    if way == 0:
        return data[: rng.randrange(len(data))]
    if way == 1:
        place = rng.randrange(len(data))
        return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
    start, end = sorted(rng.sample(range(len(data)), 2))
    return data[:start] + bytes(end - start) + data[end:]


def test_of_1000_damaged_entries_none_is_taken(entries, told):
    entries.put(KEY, content())
    path, rng = file_of(entries), random.Random(0)
    whole = path.read_bytes()
    for _ in range(1000):
        spoilt = damaged(whole, rng)
        if spoilt == whole:
            continue
        path.write_bytes(spoilt)
        assert entries.get(KEY) is None
    assert len(told) == 1  # once, however many
    assert "made anew" in told[0]
    path.write_bytes(whole)
    assert entries.get(KEY) is not None


def test_an_entry_under_another_ones_name_is_a_miss(entries, told):
    entries.put(KEY, content(1.0))
    entries.put(OTHER, content(2.0))
    os.replace(file_of(entries), file_of(entries, OTHER))
    assert entries.get(OTHER) is None
    assert "something else than its name says" in told[0]


def test_a_full_disk_is_told_and_no_error(entries, told, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pytest_quant.store.cache.entries.write_atomically", full)
    entries.put(KEY, content())
    assert entries.get(KEY) is None
    assert "No space left on device" in told[0]


def test_a_folder_that_cannot_be_made_is_told_and_no_error(tmp_path, told):
    (tmp_path / "cache").write_text("a file")
    entries = Entries(tmp_path / "cache", told.append)
    with entries.locked(KEY):
        entries.put(KEY, content())
        assert entries.get(KEY) is None
    assert told


def test_the_least_recently_used_go_first(tmp_path, told):
    entries = Entries(tmp_path, told.append, most=6000)
    keys = [Key("evaluation", f"{n:032x}") for n in range(6)]
    for age, key in enumerate(keys):
        entries.put(key, content())
        os.utime(file_of(entries, key), (time.time() - 100 + age,) * 2)
    assert entries.get(keys[0]) is not None  # used now
    entries.prune()
    assert entries.has(keys[0])
    assert not entries.has(keys[1])
    assert entries.has(keys[5])
    assert sum(path.stat().st_size for path in tmp_path.glob("*/*.entry")) <= 6000


KILLED = """
import os, sys, signal, torch
from pathlib import Path
from pytest_quant.store.cache import entries as module
def killed(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / f".{path.name}.abcdefgh").write_bytes(content[:100])
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "write":
    module.write_atomically = killed
entries = module.Entries(Path(sys.argv[1]), print)
key = module.Key("build", "a" * 32)
with entries.locked(key):
    if sys.argv[2] == "hold":
        print("held", flush=True)
        signal.pause()
    entries.put(key, {"tensor": torch.zeros(100)})
"""


def run(folder, what):
    return subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder), what], stdout=subprocess.PIPE, text=True
    )


def test_a_kill_while_an_entry_is_written_loses_nothing(entries, told):
    entries.put(OTHER, content())
    with run(entries.folder, "write") as killed:
        assert killed.wait() == -signal.SIGKILL
    assert entries.get(KEY) is None
    assert entries.get(OTHER) is not None
    assert not told
    with entries.locked(KEY):  # which ended with its holder
        entries.put(KEY, content())
    assert entries.get(KEY) is not None


def test_who_is_killed_while_he_holds_a_lock_holds_up_nobody(entries):
    with run(entries.folder, "hold") as holder:
        assert holder.stdout.readline() == "held\n"
        holder.kill()
    with entries.locked(KEY):
        entries.put(KEY, content())
    assert entries.has(KEY)


def test_a_folder_inside_a_repo_is_none_of_git(entries):
    with entries.locked(KEY):  # which comes first
        entries.put(KEY, content())
    for own in (KEY.what, "locks"):
        assert (entries.folder / own / ".gitignore").read_text().endswith("*\n")
    assert entries.has_room_for(500_000_000)
    assert not entries.has_room_for(500_000_001)


def test_clearing_leaves_what_is_not_the_caches(entries):
    entries.folder.mkdir()
    (entries.folder / "mine.txt").write_text("mine")
    (entries.folder / "src").mkdir()
    (entries.folder / "src" / "model.py").write_text("mine")
    with entries.locked(KEY):
        entries.put(KEY, content())
    entries.clear()
    assert entries.get(KEY) is None
    assert (entries.folder / "mine.txt").exists()
    assert (entries.folder / "src" / "model.py").exists()
    assert not (entries.folder / "src" / ".gitignore").exists()
