"""Verdict cells: a verdict's limit, observed value and evidence in words, for tables."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from pytest_quant.errors import listed
from pytest_quant.judge.limits import LIMITS
from pytest_quant.judge.verdict import clause_of
from pytest_quant.report.document import Report
from pytest_quant.report.ship import endings, is_expected
from pytest_quant.report.text import clipped
from pytest_quant.subject.perplexity import perplexity_of
from pytest_quant.variant.key import RowKey
from pytest_quant.variant.measurements import MB, OWN

MARKS = {"PASS": "✅", "FAIL": "❌", "INCONCLUSIVE": "❔"}
ORDER = ("FAIL", "INCONCLUSIVE", "PASS")
MOST_NAMES = 4  # of modules
AGAINST_BASELINE = {
    "speed-up": "min_speedup",
    "size": "max_size_mb",
    "int8 share": "min_int8_share",
}


class VerdictCells(NamedTuple):
    """One verdict as the cells of a table."""

    outcome: str
    model: str
    variant: str
    quantity: str
    limit: str
    observed: str
    evidence: str
    expected: bool
    test: str


def gates_of(report: Report) -> list[VerdictCells]:
    """Every verdict, those that did not pass first, else in the order of the tests."""
    names, variants = report.model_names(), report.variant_names()
    units = {
        (row.key.of_model, metric.name): metric.unit
        for row in report.rows
        for metric in row.metrics
    }
    found = []
    for verdict, ended in zip(report.verdicts, endings(report), strict=True):
        key = RowKey.of(verdict).of_model
        unit = units.get((key, verdict["metric"]), "raw")
        gate = _gate(verdict)
        sign = "≤ " if gate.startswith("max_") else "≥ "
        sign = sign if gate.startswith(("max_", "min_")) else ""
        found.append(
            VerdictCells(
                verdict["outcome"],
                names[key],
                variants[RowKey.of(verdict)],
                verdict["quantity"],
                sign + amount(verdict, verdict["limit"], unit),
                amount(verdict, verdict["observed"], unit),
                evidence(verdict, unit),
                is_expected(verdict, ended),
                verdict["test"],
            )
        )
    return sorted(found, key=lambda gate: (ORDER.index(gate.outcome), gate.expected))


def amount(verdict: dict[str, Any], value: float | None, unit: str) -> str:
    """A limit or what was observed, in the gate's unit; a dash for what is not known."""
    if value is None or not math.isfinite(value):
        return "-"
    limit = LIMITS.get(_gate(verdict))
    if limit and limit.shown:
        return limit.shown(value)
    if own := verdict["evidence"].get("unit"):
        return f"{value:.4g} {own}"
    if verdict["metric"] is not None and (
        unit == "perplexity" or verdict["evidence"].get("relative")
    ):
        return f"{100 * value:.4g} % of FP32's"
    if verdict["metric"] is not None and unit == "fraction":
        return f"{100 * value:.4g} pt"
    return f"{value:.4g}"


def _gate(verdict: dict[str, Any]) -> str:
    """The gate whose unit and direction a verdict has; those on a baseline have their quantity's."""
    gate = str(verdict["gate"])
    if gate != "no_regression":
        return gate
    return AGAINST_BASELINE.get(verdict["quantity"], "max_accuracy_drop")


def evidence(verdict: dict[str, Any], unit: str) -> str:
    """What a PASS stands on, in short; what else there is to say of the others."""
    said = clause_of(verdict)
    if verdict["outcome"] != "PASS":
        return said
    return ", ".join(_parts(verdict["evidence"], unit)) or said


def _parts(known: dict[str, Any], unit: str) -> Iterator[str]:
    before = known.get("fp32", known.get("before"))  # FP32's, or the baseline's
    after = known.get("variant", known.get("after"))
    if before is not None and after is not None and _are_numbers(before, after):
        yield f"{_value(before, unit)} → {_value(after, unit)}"
    if isinstance(known.get("samples"), int):
        of = f" of {known['of']:,}" if isinstance(known.get("of"), int) else ""
        yield f"{known['samples']:,}{of} samples"
    if isinstance(known.get("flips"), int):
        yield f"{known['flips']:,} flipped"
    if _are_numbers(known.get("worst")):
        amount = (
            f"{100 * known['worst']:.4g} %" if unit == "perplexity" else f"{known['worst']:.4g}"
        )
        yield f"worst sample by {amount}"
    for name, words in (("interval_95", "95 % interval"), ("bounds", "bounds")):
        ends = known.get(name)
        if isinstance(ends, list | tuple) and len(ends) == 2 and _are_numbers(*ends):
            yield f"{words} {ends[0]:.3g} to {ends[1]:.3g}"
    if isinstance(known.get("method"), str):
        yield known["method"]
    if isinstance(known.get("slices"), int):
        worst = f", worst {clipped(known['slice'])}" if isinstance(known.get("slice"), str) else ""
        yield f"{known['slices']:,} slices{worst}"
    if isinstance(known.get("rounds"), int):
        yield f"{known['rounds']} rounds"
    if _are_numbers(known.get("ms"), known.get("fp32_ms")):
        yield f"{known['ms']:.4g} ms against {known['fp32_ms']:.4g} ms"
    if _are_numbers(known.get("bytes"), known.get("fp32_bytes")):
        yield f"{known['bytes'] / MB:.2f} MB of {known['fp32_bytes'] / MB:.2f} MB"
    if stayed := known.get("stayed_fp32"):
        yield f"stayed FP32: {listed((name or OWN for name in stayed), MOST_NAMES)}"


def _are_numbers(*values: Any) -> bool:
    return all(isinstance(v, int | float) and math.isfinite(v) for v in values)


def _value(value: float, unit: str) -> str:
    if unit == "perplexity":  # kept as its logarithm
        return f"{perplexity_of(value):.4g}"
    return f"{100 * value:.2f} %" if unit == "fraction" else f"{value:.4g}"
