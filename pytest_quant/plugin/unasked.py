"""Unasked: files that the command line names and that no test asks for, so that none is judged."""

from collections.abc import Iterable
from typing import Any

import pytest

from pytest_quant.errors import terminal_safe
from pytest_quant.plugin.items import variants_of
from pytest_quant.plugin.recipes import artefacts

TOLD = "quant_unasked"  # what a worker, whose errors of collection hide why, tells in the end


class Unasked:
    """The plugin object that looks for them."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.names: list[str] = []
        self.asked: set[str] = set()
        self.is_worker = hasattr(config, "workerinput")

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        self.asked |= variants_of(item)

    def pytest_collection_finish(self) -> None:
        self.names = [name for name in artefacts(self.config) if name not in self.asked]
        if self.names and not self.is_worker:
            raise pytest.UsageError(said(self.names))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Of pytest-xdist: a worker is done, which alone has collected tests."""
        self.names += getattr(node, "workeroutput", {}).get(TOLD, ())

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.is_worker:
            self.config.workeroutput[TOLD] = self.names  # type: ignore[attr-defined]
        elif self.names:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.names:
            terminalreporter.write_line(f"ERROR: {said(dict.fromkeys(self.names))}", red=True)


def said(names: Iterable[str]) -> str:
    """The sentence on them."""
    given = ", ".join(f"--quant-artefact={name}" for name in names)
    return terminal_safe(
        f"{given}: no test uses quant_variant, so it would not be judged; write one, such as: "
        "def test_ships(quant_variant): assert_gates(quant_variant, ...)"
    )
