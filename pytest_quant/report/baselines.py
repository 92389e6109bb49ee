"""Baselines: what a run measured, with the scores of each sample, as a Baseline to save or compare."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pytest_quant.baseline.baseline import VERDICT, Baseline
from pytest_quant.baseline.packing import Packed, fingerprint_of, pack_samples, pack_scores
from pytest_quant.baseline.row import Row
from pytest_quant.report.document import Report, finite
from pytest_quant.variant.key import RowKey, key_of
from pytest_quant.variant.variant import Variant


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
            key_of(variant).to_dict()
            | {
                "scores": {name: pack_scores(each) for name, each in evaluation.scores.items()},
            }
        )
    return {"eval_sets": eval_sets, "scores": scores}


@dataclass(slots=True)
class Gathered:
    """The scores that tests and workers send beside their rows."""

    eval_sets: dict[str, str] = field(default_factory=dict)
    scores: dict[RowKey, dict[str, Packed]] = field(default_factory=dict)

    def add(self, payload: dict[str, Any]) -> None:
        """Take in what `scores_of` gave for one test."""
        self.eval_sets |= payload.get("eval_sets", {})
        for scored in payload.get("scores", ()):
            self.scores[RowKey.of(scored)] = scored["scores"]

    def baseline(self, name: str, report: Report) -> Baseline:
        """All that was measured, in an order that does not depend on that of the tests."""
        rows = [Row.from_dict(finite(row.to_dict())) for row in report.rows if row.is_measured]
        rows.sort(key=lambda row: (row.key.of_model, not row.is_fp32, row.key))
        scores = {row.key: self.scores[row.key] for row in rows if row.key in self.scores}
        used = {row.eval_set.fingerprint for row in rows if row.key in scores and row.eval_set}
        eval_sets = {name: self.eval_sets[name] for name in sorted(used)}
        verdicts = sorted(
            (
                {name: each[name] for name in VERDICT if name in each}
                for each in finite(report.verdicts)
            ),
            key=lambda each: (each["test"], RowKey.of(each), each["gate"], each["quantity"]),
        )
        environment = finite(report.environment)
        return Baseline(
            name, environment, tuple(rows), scores, eval_sets, tuple(verdicts), report.version
        )


def report_of(baseline: Baseline) -> Report:
    """A baseline as a report without verdicts, to show it or to compare it with another."""
    report = Report(environment=dict(baseline.environment), rows=list(baseline.rows))
    report.version = baseline.version
    return report
