"""Joining: one row of two of one name; of two that do not fit one of them, and why the other is missing."""

from dataclasses import replace
from typing import Any

from pytest_quant.baseline.misfits import in_fixed_order, misfits
from pytest_quant.baseline.row import Row
from pytest_quant.variant.key import ModelKey

IS_MIXED = (
    "was not the same in all tests, so the row is of one of them alone; what quant_model and the other "
    "fixtures give must be the same each time, as with a fixed seed"
)


def one_row(known: Row, later: Row) -> tuple[Row, list[dict[str, Any]]]:
    """The row, which of two that do not fit is the same whichever came first, and what to tell of the
    model (see `Report.mixed`)."""
    if not (found := misfits(known, later)):
        return known.joined(later), []
    kept, other = in_fixed_order(known, later)
    notes = tuple(dict.fromkeys([*kept.notes, *other.notes]))
    row = replace(kept, error=kept.error or other.error, notes=notes)
    whose = ["" if isinstance(each.of, ModelKey) else f" of {each.of.variant}" for each in found]
    return row, [
        each.model.to_dict() | {"text": f"{each.what}{of} {IS_MIXED}"}
        for each, of in zip(found, whose, strict=True)
    ]
