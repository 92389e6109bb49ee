"""Proposed file: where a test file would be, and how it and its functions must be called to be run."""

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest


def proposed_file(config: pytest.Config, place: Path, is_one: bool) -> str:
    """The path of a test file for a place, relative to rootdir.

    Args:
        config: of the run, which says how test files are called.
        place: the folder; a test file stands for itself.
        is_one: whether there is no other place; files of one name in two folders cannot be imported by
            pytest's usual way.
    """
    if place.is_dir():
        words = [] if is_one else re.findall(r"\w+", _relative(config, place)) or ["root"]
        place = place / _free_name(config, place, "_".join(["quant", *words]))
    return _relative(config, place)


def function_prefix(config: pytest.Config) -> str:
    """What the name of a test function starts with."""
    patterns = config.getini("python_functions")
    fits = any("test_may_ship".startswith(p) or fnmatch("test_may_ship", p) for p in patterns)
    return "test" if fits else patterns[0].split("*")[0].rstrip("_")


def _free_name(config: pytest.Config, folder: Path, word: str) -> str:
    patterns = config.getini("python_files")
    fits = any(fnmatch("test_it.py", pattern) for pattern in patterns)
    pattern = "test_*.py" if fits else patterns[0]
    number, name = 2, pattern.replace("*", word)
    while "*" in pattern and (folder / name).exists():
        name, number = pattern.replace("*", f"{word}_{number}"), number + 1
    return name


def _relative(config: pytest.Config, path: Path) -> str:
    root = config.rootpath
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
