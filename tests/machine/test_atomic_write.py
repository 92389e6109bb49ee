"""What a killed process has left is removed by the next one; what somebody else's is, is not."""

import os
import signal
import subprocess
import sys

import pytest

from pytest_quant.machine.atomic_write import write_atomically

KILLED = """
import os
import signal
import sys
from pathlib import Path
from pytest_quant.machine.atomic_write import write_atomically


def half(file):
    file.write(b"half of it")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)


write_atomically(Path(sys.argv[1]), half)
"""


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", ["main.json", "漢" * 83 + ".json", "[ab].json", "%s.json"])
def test_what_a_killed_one_has_left_is_removed_at_the_next_write(tmp_path, name):
    path = tmp_path / name
    command = [sys.executable, "-c", KILLED, str(path)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert len(names_in(tmp_path)) == 1
    assert path.name not in names_in(tmp_path)
    write_atomically(path, "whole")
    assert names_in(tmp_path) == [path.name]
    assert path.read_text() == "whole"


@pytest.mark.parametrize(
    "name", [".main.json.swp", ".other.json.abcd1234", "main.json.abcd1234", ".main.json.ABCD1234"]
)
def test_files_of_other_names_and_of_editors_are_left_alone(tmp_path, name):
    (tmp_path / name).write_text("theirs")
    write_atomically(tmp_path / "main.json", "ours")
    assert names_in(tmp_path) == sorted([name, "main.json"])


def test_what_is_no_file_is_left_alone(tmp_path):
    (tmp_path / ".main.json.abcd1234").mkdir()
    os.mkfifo(tmp_path / ".main.json.abcd1235")
    (tmp_path / ".main.json.abcd1236").symlink_to(tmp_path / "nowhere")
    write_atomically(tmp_path / "main.json", "ours")
    assert len(names_in(tmp_path)) == 4


def test_one_that_is_being_written_is_left_alone(tmp_path):
    path = tmp_path / "main.json"

    def within(file):
        file.write(b"outer")
        write_atomically(path, "inner")
        assert path.read_text() == "inner"

    write_atomically(path, within)
    assert path.read_text() == "outer"
    assert names_in(tmp_path) == ["main.json"]


def test_the_longest_name_there_is_can_be_written(tmp_path):
    path = tmp_path / ("x" * 250 + ".json")
    assert write_atomically(path, "text").read_text() == "text"
    assert names_in(tmp_path) == [path.name]
