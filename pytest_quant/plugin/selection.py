"""Selection: which part of a repo's tests a command line asks for."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from pytest_quant.plugin.items import variants_of

BY_NAME = re.compile(
    r"getfixturevalue|pytest_bdd"
)  # how a test asks for what its signature does not name
LAST_FAILED = "cache/lastfailed"  # where pytest's cache has what failed
OURS = re.compile(r"(?<!pytest_)quant_")


def may_ask_by_name(item: pytest.Item) -> bool:
    """Whether a test that names no variant may ask for one by ``request.getfixturevalue``: it has
    ``request``, and its file or a conftest.py above it looks so."""
    if "request" not in getattr(item, "fixturenames", ()):
        return False
    root = item.config.rootpath
    folders = [folder for folder in item.path.parents if folder.is_relative_to(root)]
    texts = [_text(item.path), *(_text(folder / "conftest.py") for folder in folders)]
    return any(BY_NAME.search(t) for t in texts) and any(OURS.search(t) for t in texts)


def is_of_variants(item: pytest.Item) -> bool:
    """Whether a test asks for a variant, or may do so by name."""
    return bool(variants_of(item)) or may_ask_by_name(item)


def single_tests(config: pytest.Config) -> list[str]:
    """How the command line asks for single tests, as far as it says so itself."""
    found = [argument for argument in config.args if "::" in argument]
    # where nothing failed last time, pytest runs all
    failed = config.getoption("lf", False) and config.cache and config.cache.get(LAST_FAILED, {})
    return [*found, *(["--last-failed"] if failed else [])]


def places(config: pytest.Config) -> list[str]:
    """The folders and files that the command line confines a run to, or leaves out."""
    return [*_asked_for(config), *_ignored(config)]


def starts(config: pytest.Config) -> list[Path]:
    """The folders that a run is of, each once."""
    found = [
        Path(config.invocation_params.dir, argument.split("::")[0]).resolve()
        for argument in config.args
    ]
    return list(dict.fromkeys(path.parent if path.is_file() else path for path in found))


def _asked_for(config: pytest.Config) -> Iterator[str]:
    start = config.invocation_params.dir
    if config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        return
    for argument in config.args:
        path = Path(start, argument.split("::")[0]).resolve()
        if "::" not in argument and not config.rootpath.resolve().is_relative_to(path):
            yield argument


def _ignored(config: pytest.Config) -> Iterator[str]:
    for option in ("ignore", "ignore_glob"):
        for path in config.getoption(option, None) or ():
            yield f"--{option.replace('_', '-')}={path}"


@cache
def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
