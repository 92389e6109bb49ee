"""Speed cell: which threads and samples a speed gate is on, and how its quantity is called then."""

from pytest_quant.machine.cell import Cell
from pytest_quant.machine.conditions import Conditions

SPEED_UP = "speed-up"


def cell_of(own: Conditions, threads: int | None, batch: int | None) -> Cell | None:
    """What a call names, with the run's own for what it does not; None where it names nothing.

    Raises:
        TypeError, ValueError: for anything but whole numbers from 1 on.
    """
    for name, value in (("threads", threads), ("batch", batch)):
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} is {value!r}; expected a whole number from 1 on")
        if value < 1:
            raise ValueError(f"{name} is {value!r}; expected a whole number from 1 on")
    if threads is None and batch is None:
        return None
    return Cell(threads or own.threads, batch or own.latency_batch)


def quantity_at(cell: Cell | None) -> str:
    """What is judged, with the cell where it is one of the grid."""
    return SPEED_UP if cell is None else f"{SPEED_UP} at {cell}"


def is_speed(quantity: str) -> bool:
    """Whether a verdict's quantity is a speed-up, of the run's own threads and batch or of a cell."""
    return quantity == SPEED_UP or is_of_cell(quantity)


def is_of_cell(quantity: str) -> bool:
    """Whether it is a speed-up in a cell of the grid."""
    return quantity.startswith(f"{SPEED_UP} at ")
