"""Joining: one row of two of one name; of two that do not fit one of them, and why the other is missing."""

from dataclasses import replace
from typing import Any

from pytest_quant.baseline.misfits import Misfit, in_fixed_order, misfits
from pytest_quant.baseline.row import Row
from pytest_quant.variant.key import ModelKey

IS_MIXED = (
    "not the same in all tests: {}. The table has one of them alone; give each the same, as by a seed in "
    "what quant_model and the other fixtures do"
)


def one_row(known: Row, later: Row) -> tuple[Row, list[dict[str, Any]]]:
    """The row, which of two that do not fit is the same whichever came first, and what to tell of the
    model (see `Report.mixed`): what differs, or of other weights or samples no more than that."""
    if not (found := misfits(known, later)):
        return known.joined(later), []
    kept, other = in_fixed_order(known, later)
    causes = [each for each in found if isinstance(each.of, ModelKey)] or found
    return replace(kept, error=kept.error or other.error), [
        each.model.to_dict() | {"text": IS_MIXED.format(_words(each))} for each in causes
    ]


def _words(misfit: Misfit) -> str:
    of = misfit.of
    return misfit.what if isinstance(of, ModelKey) else f"{misfit.what} of {of.variant}"
