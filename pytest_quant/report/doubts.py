"""Doubts: which variants are not quantized, or not known to be, for the answer."""

from typing import TYPE_CHECKING

from pytest_quant.variant.key import ModelKey

if TYPE_CHECKING:
    from pytest_quant.baseline.row import Row
    from pytest_quant.report.document import Report


def doubts_on(report: "Report") -> dict[ModelKey, dict[str, str]]:
    """Of each model those of its variants of which it has to be said, by name."""
    found: dict[ModelKey, dict[str, str]] = {}
    for row in report.rows:
        if doubt := _doubt(row):
            found.setdefault(row.key.of_model, {})[row.variant] = doubt
    return found


def _doubt(row: "Row") -> str | None:
    recipe, share = row.recipe or {}, row.int8_share
    if recipe.get("quantized") is False:
        return "which is not quantized"
    if (
        recipe.get("kind") in ("custom", "artefact")
        and share is not None
        and share.parameters is None
    ):
        return "which is not known to be quantized"
    return None
