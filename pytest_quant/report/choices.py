"""Choices: for each model, which kind of quantization fits it, as `explain` puts it into words."""

from typing import TYPE_CHECKING, Any

from pytest_quant.baseline.row import ModelKey, RowKey
from pytest_quant.report.which_kind import which_kind

if TYPE_CHECKING:
    from pytest_quant.report.document import Report


def choices_of(report: "Report") -> list[dict[str, Any]]:
    """``where``, ``model`` and ``text``, one for each model on which there is something to say."""
    verdicts: dict[ModelKey, list[dict[str, Any]]] = {}
    for verdict in report.verdicts:
        verdicts.setdefault(RowKey.of(verdict).of_model, []).append(verdict)
    found = [
        (key, which_kind(rows, verdicts.get(key, ())))
        for key, rows in report.rows_by_model().items()
    ]
    return [
        {"where": where, "model": model, "text": text} for (where, model), text in found if text
    ]


def shown_choices(report: "Report") -> list[tuple[str, str]]:
    """The model's name to show and the paragraph, as one line that does not begin with that name."""
    names = report.model_names()
    return [
        (names[ModelKey(choice["where"], choice["model"])], _as_sentence(choice))
        for choice in choices_of(report)
    ]


def _as_sentence(choice: dict[str, Any]) -> str:
    text = str(choice["text"]).removeprefix(f"{choice['model']}: ")
    return text[:1].upper() + text[1:]
