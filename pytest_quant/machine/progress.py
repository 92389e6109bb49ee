"""Progress: how far a long step is, as a bar on a terminal or as one line in a log."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from pytest_quant.errors import terminal_safe

# To a terminal (VT100): see to a line below without losing the column, remember where the cursor is,
# go there; and afterwards clear that line and go back, so that what pytest was writing stays.
LINE_BELOW = "\033D\033M\0337\n"
BACK = "\r\033[K\0338"


class Progress(Protocol):
    """Opens a step: ``with progress("calibrate", 200, "samples") as advance: advance(32)``."""

    def __call__(
        self, step: str, total: int | None, unit: str
    ) -> AbstractContextManager[Callable[[int], None]]: ...


@contextmanager
def silent(step: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
    """Shows nothing."""
    yield lambda count: None


def bars(stream: Any) -> Progress:
    """A bar for each step, gone when the step is over.

    Args:
        stream: a file-like object that ends on a terminal.
    """

    @contextmanager
    def bar(step: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
        from tqdm import tqdm

        stream.write(LINE_BELOW)
        stream.flush()
        try:
            with tqdm(
                total=total,
                desc=terminal_safe(step),
                unit=f" {unit}",
                file=stream,
                leave=False,
                mininterval=0.2,
            ) as shown:
                yield lambda count: (shown.update(count), None)[1]
        finally:
            stream.write(BACK)
            stream.flush()

    return bar


def lines(write_line: Callable[[str], None]) -> Progress:
    """One line when a step is over: what, how much, how long.

    Args:
        write_line: called with the text of a line.
    """

    @contextmanager
    def line(step: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
        done, start = 0, time.monotonic()

        def advance(count: int) -> None:
            nonlocal done
            done += count

        yield advance
        if done:
            write_line(f"{step}: {done} {unit} in {time.monotonic() - start:.1f} s")

    return line
