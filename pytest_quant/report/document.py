"""Report: all measurements and verdicts of a run as plain data."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pytest_quant.report.rows import Row, key_of

VERSION = 1  # of report.json's form; a reader refuses a higher one


@dataclass(slots=True)
class Report:
    """What `pytest_quant_report` gets, and what report.json holds.

    Args:
        environment: what decides comparability: versions, CPU, instruction set, threads, engine.
        rows: one for each variant of each model.
        verdicts: in the order of the tests; each has the test's ``test``.
        interrupted: whether the run was stopped, so that rows and verdicts may be missing.
    """

    environment: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    interrupted: bool = False

    def add(self, payload: dict[str, Any]) -> None:
        """Take in what one test has measured; a later row of a variant knows more and wins."""
        self.environment.update(payload.get("environment") or {})
        for row in payload.get("rows", ()):
            self._add_row(row)
        self.verdicts += payload.get("verdicts", ())

    def ordered(self) -> list[Row]:
        """Rows by model, FP32 first, then in the order in which they came."""
        models = list(dict.fromkeys(key_of(row)[:2] for row in self.rows))
        return sorted(
            self.rows,
            key=lambda row: (models.index(key_of(row)[:2]), _rank(row["variant"])),
        )

    def model_names(self) -> dict[tuple[str, str], str]:
        """(where, model) -> the name to show: the model's, with its place where two share a name."""
        places: dict[str, set[str]] = {}
        for row in self.rows:
            places.setdefault(row["model"], set()).add(row["where"])
        return {
            (where, model): model if len(wheres) == 1 else f"{model} ({where or '.'})"
            for model, wheres in places.items()
            for where in wheres
        }

    def verdicts_on(self, row: Row) -> list[dict[str, Any]]:
        """The verdicts on one row's variant."""
        return [v for v in self.verdicts if (v["where"], v["model"], v["variant"]) == key_of(row)]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, with the form's version."""
        return {
            "version": VERSION,
            "environment": self.environment,
            "rows": self.ordered(),
            "verdicts": self.verdicts,
            "interrupted": self.interrupted,
        }

    def to_json(self) -> str:
        """The text of report.json. Numbers that JSON has no word for become null."""
        return json.dumps(_finite(self.to_dict()), indent=2, allow_nan=False) + "\n"

    def _add_row(self, row: Row) -> None:
        for index, known in enumerate(self.rows):
            if key_of(known) == key_of(row):
                self.rows[index] = _joined(known, row)
                return
        self.rows.append(row)


def _joined(old: Row, new: Row) -> Row:
    """Two rows of one variant, which two workers may have measured: the latter wins where it knows."""
    filled = {name: new[name] if new[name] not in (None, [], {}) else old[name] for name in new}
    filled["notes"] = list(dict.fromkeys([*old["notes"], *new["notes"]]))
    filled["error"] = new["error"] or old["error"]
    return filled


def _rank(variant: str) -> int:
    order = ("fp32", "dynamic", "static", "qat")
    return order.index(variant) if variant in order else len(order)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and value - value != 0:
        return None
    return value


def outcomes(verdicts: Iterable[dict[str, Any]]) -> str:
    """A cell's summary of verdicts: ``3 PASS``, or those that did not pass by name."""
    listed = list(verdicts)
    others = [f"{v['quantity']} {v['outcome']}" for v in listed if v["outcome"] != "PASS"]
    if others:
        return ", ".join(dict.fromkeys(others))
    return f"{len(listed)} PASS" if listed else ""
