"""Commit: which state of a repo a run is of; no git, a broken one or a slow one end no run."""

import os
import subprocess
import time

import pytest

from pytest_quant.machine import commit
from pytest_quant.machine.commit import commit_of
from pytest_quant.machine.conditions import Conditions
from pytest_quant.machine.environment import environment

AUTHOR = {
    "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@a.invalid", "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@a.invalid", "GIT_CONFIG_GLOBAL": os.devnull,
}  # fmt: skip


@pytest.fixture
def git(tmp_path, monkeypatch):
    """Run a command of git in a new repo."""
    for name, value in AUTHOR.items():
        monkeypatch.setenv(name, value)

    def git(*arguments):
        done = subprocess.run(
            ["git", *arguments], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    git("init", "-q")
    return git


@pytest.fixture
def repo(git, tmp_path):
    """A repo of one commit, and its name."""
    (tmp_path / "model.py").write_text("a = 1\n")
    git("add", ".")
    git("commit", "-q", "-m", "one")
    return tmp_path, git("rev-parse", "HEAD")


def test_a_clean_repo_tells_its_commit(repo):
    folder, name = repo
    (folder / "report.json").write_text("which git does not follow")
    assert commit_of(folder) == {"commit": name, "dirty": False}
    assert environment(Conditions(), repo=commit_of(folder))["commit"] == name
    assert "commit" not in environment(Conditions())


def test_a_changed_file_is_told_and_a_folder_inside_knows_its_repo(repo):
    folder, name = repo
    (folder / "model.py").write_text("a = 2\n")
    (folder / "tests").mkdir()
    assert commit_of(folder / "tests") == {"commit": name, "dirty": True}


def test_nothing_is_told_of_no_repo_and_of_one_without_a_commit(tmp_path_factory, tmp_path, git):
    assert commit_of(tmp_path) == {}
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    assert commit_of(elsewhere) == {}
    assert commit_of(elsewhere / "gone") == {}


@pytest.mark.parametrize(
    "script", ["exit 1", "sleep 60", "sleep 60 & exit 0", "echo; exit 0", None],
    ids=["fails", "hangs", "leaves a child behind", "says nothing", "is missing"],
)  # fmt: skip
def test_a_git_that_does_not_answer_holds_up_nobody(tmp_path, monkeypatch, script):
    tools = tmp_path / "bin"
    tools.mkdir()
    if script is not None:
        (tools / "git").write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")
        (tools / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setattr(commit, "PATIENCE", 0.2)
    start = time.monotonic()
    assert commit_of(tmp_path) == {}
    assert time.monotonic() - start < 30  # a hang is for ever, or for as long as the child lives
