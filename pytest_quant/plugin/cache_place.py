"""Cache place: where the cache of a run lies, and how its workers come to share it."""

import hashlib
import secrets
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_quant.errors import in_brief
from pytest_quant.machine.conditions import Conditions, available_cores
from pytest_quant.machine.lock import taken_at_once
from pytest_quant.machine.turns import take_turns
from pytest_quant.plugin.settings import Settings
from pytest_quant.store.cache.cache import Cache
from pytest_quant.store.cache.entries import Entries

FOLDER, RUN = "quant_cache", "quant_run"  # what a worker is told


class CachePlace:
    """The plugin object that gives a run its cache.

    It lies where pytest keeps its own, so that ``--cache-clear`` empties it and ``-p no:cacheprovider``
    switches it off. The workers of pytest-xdist share one in any case: without a cache a folder that ends
    with the run, so that each variant is built once.

    Args:
        config: of the run.
        settings: as given.
        conditions: under which all is built and evaluated.

    Attributes:
        cache: None where nothing is kept.
    """

    def __init__(self, config: pytest.Config, settings: Settings, conditions: Conditions) -> None:
        self._files = set[str]()
        self._conditions = conditions
        self._passing: Path | None = None  # a folder that ends with the run
        told: dict[str, Any] = getattr(config, "workerinput", {})
        self._claimed: dict[str, Callable[[], None]] = {}
        self._is_worker = hasattr(config, "workerinput")
        self._run = told.get(RUN) or secrets.token_hex(8)
        folder = Path(told[FOLDER]) if told.get(FOLDER) else self._folder(config, settings)
        if folder is None and getattr(config.option, "dist", "no") != "no" and not self._is_worker:
            folder = self._passing = Path(tempfile.mkdtemp(prefix="pytest-quant-run-"))
        self.cache = (
            None
            if folder is None
            else Cache(folder, conditions, self._run, lambda: self._files, self._is_worker)
        )

    def share_cores(self, workers: int) -> Callable[[], None]:
        """Let so many workers compute in turns, where the cores are too few for all; what is given ends it.

        Nobody takes turns without a folder that all share.
        """
        at_once = max(1, available_cores() // self._conditions.threads)
        if self.cache is None or workers <= at_once:
            return lambda: None
        return take_turns(self.cache.entries.locks, f"turn-{self._run}", at_once)

    def claim(self, what: str) -> bool:
        """Whether this process is to do what one worker of the run does for all: the first that asks is, as
        long as it lives."""
        if not self._is_worker or self.cache is None or what in self._claimed:
            return True
        digest = hashlib.blake2b(what.encode(), digest_size=16).hexdigest()
        release = taken_at_once(f"claim-{self._run}-{digest}", within=self.cache.entries.locks)
        if release is not None:
            self._claimed[what] = release
        return release is not None

    def _folder(self, config: pytest.Config, settings: Settings) -> Path | None:
        if settings.no_cache or self._is_worker:
            return None
        if settings.cache is not None:
            if config.getoption("cacheclear", False):
                Entries(settings.cache, self._conditions.tell).clear()
            return settings.cache
        own = getattr(config, "cache", None)  # None after -p no:cacheprovider
        if own is None:
            return None
        try:
            return Path(own.mkdir("quant"))
        except OSError as error:
            self._conditions.tell(f"cache: none, since pytest's has no folder: {in_brief(error)}")
            return None

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Of pytest-xdist: tell a worker where the run's cache lies; it has been cleared, if at all."""
        node.config.option.cacheclear = False  # a worker takes over the options as they are now
        if self.cache is not None:
            node.workerinput[FOLDER] = str(self.cache.entries.folder)
            node.workerinput[RUN] = self._run

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Note a file of tests, on which no model depends; one that is only searched for doctests, or
        for tests that are not there, is none."""
        if isinstance(item, pytest.Function):
            self._files.add(str(item.path))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        if self.cache is not None and not self._is_worker:
            self.cache.entries.prune()

    def pytest_unconfigure(self) -> None:
        if self.cache is not None and not self._is_worker:
            self.cache.end_run()
        if self._passing is not None:
            shutil.rmtree(self._passing, ignore_errors=True)
