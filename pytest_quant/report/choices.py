"""Choices: for each model, which kind of quantization fits it, in words."""

from typing import TYPE_CHECKING, Any

from pytest_quant.report.which_kind import which_kind
from pytest_quant.variant.key import ModelKey, RowKey

if TYPE_CHECKING:
    from pytest_quant.report.document import Report


def choices_of(report: "Report") -> list[dict[str, Any]]:
    """``where``, ``model`` and ``text``, one for each model on which there is something to say."""
    return [
        {**key.to_dict(), "text": f"{key.model}: {text[0].lower()}{text[1:]}"}
        for key, text in _texts(report)
    ]


def shown_choices(report: "Report") -> list[tuple[str, str]]:
    """The model's name to show, and the paragraph."""
    names = report.model_names()
    return [(names[key], text) for key, text in _texts(report)]


def _texts(report: "Report") -> list[tuple[ModelKey, str]]:
    verdicts: dict[ModelKey, list[dict[str, Any]]] = {}
    for verdict in report.verdicts:
        verdicts.setdefault(RowKey.of(verdict).of_model, []).append(verdict)
    found = [
        (key, which_kind(rows, verdicts.get(key, ())))
        for key, rows in report.rows_by_model().items()
    ]
    return [(key, text) for key, text in found if text]
