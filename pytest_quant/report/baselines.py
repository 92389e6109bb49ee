"""Baselines: what a run measured, with the scores of each sample, as a Baseline to save or compare."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pytest_quant.baseline.baseline import Baseline, Key, Row, key_of
from pytest_quant.baseline.packing import fingerprint_of, pack_samples, pack_scores
from pytest_quant.report.document import Report
from pytest_quant.variant.variant import Variant

KEPT = (
    "model", "where", "variant", "recipe", "metrics", "eval_set", "size", "fp32_size", "int8_share",
    "latency",
)  # fmt: skip
METRIC = (
    "name", "unit", "higher_is_better", "value", "samples", "of", "drop", "flips", "fake_quantized",
)  # fmt: skip
NUMBERS = ("metrics", "size", "int8_share", "latency")


def scores_of(variants: Iterable[Variant]) -> dict[str, Any]:
    """The scores of those variants that were evaluated, as plain JSON types beside their rows."""
    eval_sets: dict[str, str] = {}
    scores = []
    for variant in variants:
        evaluation = variant.measured("evaluation")
        if evaluation is None:
            continue
        fingerprint = fingerprint_of(evaluation.samples)
        if fingerprint not in eval_sets:
            eval_sets[fingerprint] = pack_samples(evaluation.samples)
        scores.append(
            {
                "where": variant.subject.where,
                "model": variant.subject.label,
                "variant": variant.name,
                "scores": {name: pack_scores(each) for name, each in evaluation.scores.items()},
            }
        )
    return {"eval_sets": eval_sets, "scores": scores}


@dataclass(slots=True)
class Gathered:
    """The scores that tests and workers send beside their rows."""

    eval_sets: dict[str, str] = field(default_factory=dict)
    scores: dict[Key, dict[str, Any]] = field(default_factory=dict)

    def add(self, payload: dict[str, Any]) -> None:
        """Take in what `scores_of` gave for one test."""
        self.eval_sets |= payload.get("eval_sets", {})
        for scored in payload.get("scores", ()):
            self.scores[key_of(scored)] = scored["scores"]

    def baseline(self, name: str, report: Report) -> Baseline:
        """All that was measured, in an order that does not depend on that of the tests."""
        document = json.loads(report.to_json())  # so that NaN has become null, as in the file
        rows = sorted(
            (row for row in document["rows"] if any(row[name] for name in NUMBERS)),
            key=lambda row: (row["where"], row["model"], row["variant"] != "fp32", row["variant"]),
        )
        kept = tuple(self._kept(row) for row in rows)
        used = {row["eval_set"]["fingerprint"] for row in kept if row["scores"]}
        eval_sets = {name: self.eval_sets[name] for name in sorted(used)}
        return Baseline(name, document["environment"], kept, eval_sets)

    def _kept(self, row: Row) -> Row:
        kept = {name: row.get(name) for name in KEPT}
        kept["metrics"] = [{name: metric.get(name) for name in METRIC} for metric in row["metrics"]]
        return {**kept, "scores": self.scores.get(key_of(row), {})}


def report_of(baseline: Baseline) -> Report:
    """A baseline as a report without verdicts, to show it or to compare it with another."""
    return Report.from_dict(
        {
            "version": 1,
            "environment": dict(baseline.environment),
            "rows": [
                {**row, "seconds": {}, "notes": [], "error": None}
                for row in baseline.rows
            ],
            "verdicts": [],
            "interrupted": False,
        }
    )  # fmt: skip
