"""Writing a saved variant: the whole file or the old one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from quantizable import Two, built, made, numbers

from pytest_quant import load_variant


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_in_writing_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, error):
    path = tmp_path / "v.pt"
    old, new = (built(made(Two, seed=seed), "dynamic", numbers) for seed in (0, 1))
    before = old.save(path).read_bytes()

    def fail(content, file):
        file.write(b"half of it")
        raise error

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(type(error)):
        new.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


KILLED = """
import os, signal, sys
from quantizable import built, made, Two, numbers

variant = built(made(Two, seed=1), "dynamic", numbers)

def fsync(file):
    os.truncate(file, 1000)
    os.kill(os.getpid(), signal.SIGKILL)

os.fsync = fsync
variant.save(sys.argv[1])
"""


@pytest.mark.slow
def test_killed_in_the_middle_of_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "v.pt"
    old = built(made(Two), "dynamic", numbers)
    old.save(path)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", KILLED, path], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2  # the new one was being written
    x = torch.randn(4, 8)
    assert torch.equal(load_variant(path, Two())(x), old(x))
