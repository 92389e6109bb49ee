"""Cell: how a grid of latencies is written, and what is none."""

import pytest

from pytest_quant.machine.cell import Cell, cells_of_grid


def test_cells_come_in_their_order_and_each_once():
    assert cells_of_grid("2x1, 1x32,2x1") == (Cell(2, 1), Cell(1, 32))


@pytest.mark.parametrize(
    "text",
    ["1", "0x1", "1x0", "1x", "x1", "1x1x1", "-1x1", "1.0x1", "1x1,", "", "axb", "1X1", "٣x1"],
)
def test_what_is_no_cell_is_named(text):
    with pytest.raises(ValueError, match=r"is no cell; expected threads x batch.*1x1,1x32,2x1"):
        cells_of_grid(text)


def test_a_cell_is_named_for_a_person():
    named = [str(cell) for cell in (Cell(1, 1), Cell(2, 32), Cell(4))]
    assert named == ["1 thread, batch 1", "2 threads, batch 32", "4 threads"]
