"""Files that others hold, left or put there cost a sentence, not the run."""

import os
import subprocess
import sys
import tempfile

import pytest
from toyrepo import CONFTEST

from pytest_quant.machine.lock import locked

SIZE = """
from pytest_quant import assert_max_size


def test_size(quant_dynamic):
    assert_max_size(quant_dynamic, ratio=0.9)
"""
SPEED = """
from pytest_quant import assert_min_speedup


def test_speed(quant_dynamic):
    assert_min_speedup(quant_dynamic, 0.001)
"""
HOLDER = """
import os, signal
from pytest_quant.machine.lock import locked

with locked("timing", "timed", print):
    print("held", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
"""


@pytest.fixture
def repo(pytester):
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_size=SIZE)
    return pytester


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder of temporary files, the test's own; a stopped holder is left at once."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setitem(locked.__wrapped__.__kwdefaults__, "patience", 0.1)
    return tmp_path


def test_a_stopped_run_is_named_and_does_not_stop_others(repo, temporary):
    repo.makepyfile(test_size=SPEED)
    environment = os.environ | {"TMPDIR": str(temporary)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True, env=environment
    ) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            os.waitpid(holder.pid, os.WUNTRACED)
            result = repo.runpytest_inprocess("--quant", "--quant-timing-seconds=1")
        finally:
            holder.kill()
    result.assert_outcomes(passed=1)
    held = f"process {holder.pid}*holds *timing.lock and was stopped"
    result.stdout.fnmatch_lines(
        [
            f"quant: waiting for process {holder.pid}, which holds *timing.lock and was stopped",
            f"Sequential dynamic: timed, maybe beside another run: {held}",
        ]
    )


@pytest.mark.parametrize("what", ["folder", "symlink"])
def test_what_stands_in_the_place_of_the_lock_is_one_sentence(repo, temporary, what):
    repo.makepyfile(test_size=SPEED)
    precious = temporary / "precious.txt"
    precious.write_text("precious")
    folder = temporary / f"pytest-quant-{os.getuid()}"
    folder.mkdir(0o700)
    lock = folder / "timing.lock"
    lock.mkdir() if what == "folder" else lock.symlink_to(precious)
    result = repo.runpytest_inprocess("--quant", "--quant-timing-seconds=1")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"Sequential dynamic: timed, *{lock} is a {what}, not a file*"])
    assert precious.read_text() == "precious"


@pytest.mark.parametrize("device", ["/dev/full", "/dev/zero", "pipe"])
def test_a_step_summary_without_an_end_is_not_read(repo, tmp_path, monkeypatch, device):
    if device == "pipe":
        device = tmp_path / "pipe"
        os.mkfifo(device)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(device))
    result = repo.runpytest_inprocess("--quant")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"the step summary was not written: {device} is no regular file"])


LONG = "漢" * 84  # 252 bytes, and 5 of the suffix


@pytest.mark.parametrize("option", ["--quant-save", "--quant-compare"])
def test_a_baseline_whose_files_name_is_too_long_is_refused_at_the_start(repo, option):
    result = repo.runpytest_inprocess("--quant", f"{option}={LONG}")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*is too long a name for a baseline: *257 bytes, and 255 are *"])
    result.stdout.no_fnmatch_line("*passed*")


def test_a_baseline_of_the_longest_name_is_saved(repo):
    name = LONG[:-1]
    repo.runpytest_inprocess("--quant", f"--quant-save={name}").assert_outcomes(passed=1)
    assert [path.stem for path in (repo.path / "reports" / "baselines").iterdir()] == [name]


def test_a_folder_in_place_of_the_baseline_is_told_at_the_start(repo):
    repo.mkdir("reports").joinpath("baselines", "main.json").mkdir(parents=True)
    result = repo.runpytest_inprocess("--quant", "--quant-save=main")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*--quant-save: *main.json is there and is no file"])


def test_what_a_killed_save_has_left_is_gone_after_the_next(repo):
    folder = repo.mkdir("reports") / "baselines"
    folder.mkdir()
    (folder / ".main.json.k2x_91ab").write_text("half of")
    repo.runpytest_inprocess("--quant", "--quant-save=main").assert_outcomes(passed=1)
    assert [path.name for path in folder.iterdir()] == ["main.json"]
