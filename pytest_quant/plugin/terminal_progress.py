"""Terminal progress: bars on a terminal, lines in a log, nothing in a worker or with -q.

All of it goes to standard output as it was when pytest started, through a file of its own: what a test
or its doctest has made of `sys.stdout` since, and what pytest captures, is left alone.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TextIO

import pytest

from pytest_quant.errors import terminal_safe
from pytest_quant.machine.progress import Progress, bars, lines, silent


@dataclass(frozen=True, slots=True)
class Shown:
    """What a run tells while it works.

    Args:
        progress: how far a long step is.
        tell: writes one line at once.
    """

    progress: Progress = silent
    tell: Callable[[str], None] = lambda text: None


def shown_by(config: pytest.Config) -> Shown:
    """What fits where this run's output goes."""
    has_terminal = config.pluginmanager.hasplugin("terminal") and sys.stdout is not None
    if not has_terminal or hasattr(config, "workerinput") or config.get_verbosity() < 0:
        return Shown()
    stream = _own_stream(config)

    def tell(text: str) -> None:
        reporter: Any = config.pluginmanager.getplugin("terminalreporter")
        if getattr(reporter, "currentfspath", None):  # as its ensure_newline, which is captured now
            stream.write("\n")
            reporter.currentfspath = None
        stream.write(terminal_safe(f"quant: {text}\n"))
        stream.flush()

    return Shown(bars(stream) if _takes_bars(stream) else lines(tell), tell)


def _takes_bars(stream: TextIO) -> bool:
    """Whether the cursor can be moved: on a terminal that is not said to be a dumb one."""
    return stream.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb", "unknown")


def _own_stream(config: pytest.Config) -> TextIO:
    """Standard output in a file of its own, which no later redirection reaches."""
    now = sys.stdout
    try:
        number = os.dup(now.fileno())
    except (OSError, ValueError, AttributeError):  # of no file, as when pytest runs inside a test
        return now
    stream = open(number, "w", encoding=now.encoding, errors="backslashreplace")  # noqa: SIM115
    config.add_cleanup(stream.close)
    return stream
