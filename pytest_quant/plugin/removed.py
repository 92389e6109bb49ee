"""Removed: tests of variants that another plugin, or a conftest, takes out of a run without a word."""

from collections.abc import Generator, Sequence
from typing import Any

import pytest

from pytest_quant.plugin.selection import is_of_variants


class Removed:
    """A plugin object of a run, which says for them what pytest asks them to say: that tests are
    deselected. Without it a gate that is filtered away would be no more than a smaller run."""

    def __init__(self) -> None:
        self.told: set[str] = set()

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        self.told |= {item.nodeid for item in items}

    @pytest.hookimpl(wrapper=True, tryfirst=True)  # around what others do to the items
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> Generator[None, Any, Any]:
        there = list(items)
        done = yield
        known = self.told | {item.nodeid for item in items}  # one may be another object now
        removed = [item for item in there if item.nodeid not in known and is_of_variants(item)]
        if removed:
            config.hook.pytest_deselected(items=removed)
        return done
