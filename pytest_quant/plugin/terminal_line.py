"""Terminal line: the one way by which text of a run reaches pytest's terminal."""

from collections.abc import Callable
from typing import Any

from pytest_quant.errors import terminal_safe


def line_writer(terminalreporter: Any) -> Callable[[str], None]:
    """Writes lines in which no name steers the terminal."""
    return lambda text: terminalreporter.write_line(terminal_safe(text))
