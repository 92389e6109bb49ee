"""Terminal progress: bars on a terminal, lines in a log, nothing in a worker or with -q."""

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest

from pytest_quant.machine.progress import Progress, bars, lines, silent


def progress_for(config: pytest.Config) -> Progress:
    """The progress that fits where this run's output goes."""
    if hasattr(config, "workerinput") or config.get_verbosity() < 0:
        return silent
    if sys.stdout.isatty():
        return bars(_Uncaptured(config))

    def write_line(text: str) -> None:
        reporter: Any = config.pluginmanager.getplugin("terminalreporter")
        if reporter is not None:
            with _capture_off(config):
                reporter.ensure_newline()
                reporter.write_line(f"quant: {text}")

    return lines(write_line)


class _Uncaptured:
    """A stream that reaches the terminal while pytest captures what tests write."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def write(self, text: str) -> None:
        with _capture_off(self._config):
            sys.stderr.write(text)
            sys.stderr.flush()

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True


def _capture_off(config: pytest.Config) -> AbstractContextManager[None]:
    manager: Any = config.pluginmanager.getplugin("capturemanager")
    off: AbstractContextManager[None] = (
        nullcontext() if manager is None else manager.global_and_fixture_disabled()
    )
    return off
