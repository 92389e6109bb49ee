"""Cell: of a grid of latencies: how many threads, and how many samples in one call."""

import re
from dataclasses import dataclass

EXAMPLE = "1x1,1x32,2x1"
WRITTEN = re.compile(r"([1-9]\d{0,5})x([1-9]\d{0,8})")


@dataclass(frozen=True, slots=True)
class Cell:
    """Under what a call is timed.

    Args:
        threads: PyTorch's intra-op threads.
        batch: samples in one call; None for as many as the inputs have.
    """

    threads: int
    batch: int | None = None

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return threads if self.batch is None else f"{threads}, batch {self.batch}"


def cells_of_grid(text: str) -> tuple[Cell, ...]:
    """The cells of a grid as a person writes it: ``1x1,1x32,2x1``; each once, in its order.

    Raises:
        ValueError: for anything else; says which part is none.
    """
    found: dict[Cell, None] = {}
    for part in text.split(","):
        numbers = WRITTEN.fullmatch(part.strip())
        if numbers is None:
            raise ValueError(
                f"{part.strip()!r} is no cell; expected threads x batch, both whole numbers from 1 on, and "
                f"commas between cells: {EXAMPLE}"
            )
        found[Cell(int(numbers[1]), int(numbers[2]))] = None
    return tuple(found)
