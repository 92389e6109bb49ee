"""Changes: what differs between two baselines or reports, as plain data and in words."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pytest_quant.baseline.baseline import Baseline, differences
from pytest_quant.baseline.change_words import Change
from pytest_quant.baseline.matching import matched
from pytest_quant.baseline.packing import Packed, unpack_scores
from pytest_quant.baseline.remarks import remarks
from pytest_quant.baseline.row import MetricScore, Row
from pytest_quant.baseline.version import same_digests
from pytest_quant.variant.key import RowKey

Stated = dict[tuple[str, str | None], set[float]]
Scores = tuple[Mapping[str, Packed], Mapping[str, Packed]]
# Of two speed-ups: timed twice on one machine they differ by a few per cent, so less is no change.
NOTEWORTHY = 1.05


def since(before: Baseline, now: Baseline) -> dict[str, Any]:
    """What changed since a baseline: its ``name``, the ``changes`` and ``remarks`` in words.

    Plain JSON types, for the report; a change has the row's ``where``, ``model`` and ``variant``, and
    for each quantity that both know [before, now].
    """
    pairs = matched(_keys(before), _keys(now), min(before.version, now.version))
    changes = _changes(before, now, pairs)
    return {
        "name": before.name,
        "changes": changes,
        "remarks": list(remarks(before, now, pairs, changes)),
    }


def changes_between(before: Baseline, now: Baseline) -> list[Change]:
    """One for each variant of either, in the order of `now`, then those that it lacks."""
    changes: list[Change] = since(before, now)["changes"]
    return changes


def _keys(baseline: Baseline) -> list[RowKey]:
    return [row.key for row in baseline.rows]


def _changes(before: Baseline, now: Baseline, pairs: Mapping[RowKey, RowKey]) -> list[Change]:
    same_machine = not differences(before.environment, now.environment)
    changes: list[Change] = []
    there = {row.key: row for row in before.rows}
    then, here = _stated(before), _stated(now)
    told_alike = same_digests(before.version, now.version)
    for row in now.rows:
        if row.key not in pairs:
            changes.append(row.key.to_dict() | {"status": "new"})
            continue
        old = there[pairs[row.key]]
        scores = before.scores_of(old), now.scores_of(row)
        change = _change(old, row, scores, same_machine, told_alike)
        change |= {
            "missing": _missing(old, row),
            "limits": _limits(then.get(old.key, {}), here.get(row.key, {})),
        }
        changes.append(row.key.to_dict() | {"status": "known"} | change)
    known = {*pairs.values()}
    gone = [row for row in before.rows if row.key not in known]
    return changes + [row.key.to_dict() | {"status": "gone"} for row in gone]


def changes_by_row(since: Mapping[str, Any] | None) -> dict[RowKey, Change]:
    """The change of each variant in what `since` gave."""
    return {RowKey.of(change): change for change in (since or {}).get("changes", ())}


def _change(old: Row, new: Row, scores: Scores, same_machine: bool, told_alike: bool) -> Change:
    share = None
    if old.int8_share and new.int8_share:
        shares = old.int8_share, new.int8_share
        share = {of: [getattr(each, of) for each in shares] for of in ("parameters", "macs")}
    size = None
    if old.size and new.size:
        size = [old.size.tensor_bytes, new.size.tensor_bytes]
    recipes = old.recipe or {}, new.recipe or {}
    digests = old.fp32_digest, new.fp32_digest
    return {
        "weights": None if None in digests else digests[0] != digests[1],
        "metrics": [_metric(old, new, metric, scores, told_alike) for metric in new.metrics],
        "other_eval_set": _other_eval_set(old, new, told_alike),
        "samples_unknown": _is_unknown(old, new, told_alike),
        "size": size,
        "int8_share": share,
        "speedup": _speedup(old, new) if same_machine else None,
        "recipe": differences(*recipes, dict.fromkeys([*recipes[0], *recipes[1]]), "default"),
    }


def _missing(old: Row, new: Row) -> list[str]:
    """What was measured then and is not now."""
    names = {metric.name for metric in new.metrics}
    missing = [metric.name for metric in old.metrics if metric.name not in names]
    if old.size and not new.size:
        missing.append("size")
    return [*missing, *(["int8 share"] if old.int8_share and not new.int8_share else [])]


def _limits(then: Stated, here: Stated) -> list[dict[str, Any]]:
    """Gates whose limit is another one, or which are gone: [before, now]. A gate that is new takes
    nothing away, and a file without gates tells nothing."""
    return [
        {
            "gate": gate,
            "metric": metric,
            "limit": [sorted(limits), sorted(here.get((gate, metric), ()))],
        }
        for (gate, metric), limits in sorted(then.items(), key=str)
        if not limits <= here.get((gate, metric), set())
    ]


def _stated(baseline: Baseline) -> dict[RowKey, Stated]:
    """The limits by which each variant was judged, by gate and metric."""
    found: dict[RowKey, Stated] = {}
    for verdict in baseline.verdicts:
        if verdict["limit"] is not None:
            of_gate = verdict["gate"], verdict.get("metric")
            limits = found.setdefault(RowKey.of(verdict), {}).setdefault(of_gate, set())
            limits.add(float(verdict["limit"]))
    return found


def _metric(
    old: Row, new: Row, metric: MetricScore, scores: Scores, told_alike: bool
) -> dict[str, Any]:
    was = next((each for each in old.metrics if each.name == metric.name), None)
    comparable = (
        was is not None
        and was.unit == metric.unit
        and None not in (was.value, metric.value)
        and was.is_whole
        and metric.is_whole
        and not _other_eval_set(old, new, told_alike)
        and not _is_unknown(old, new, told_alike)
    )
    flips = None
    if comparable and new.eval_set and all(metric.name in each for each in scores):
        a, b = (unpack_scores(each[metric.name], new.eval_set.samples) for each in scores)
        flips = int(np.count_nonzero((a != b) & ~(np.isnan(a) & np.isnan(b))))
    return {
        "name": metric.name,
        "unit": metric.unit,
        "value": [was and was.value, metric.value],
        "comparable": comparable,
        "flips": flips,
    }


def _other_eval_set(old: Row, new: Row, told_alike: bool) -> bool:
    """Whether two rows are known to have been evaluated on different samples.

    Args:
        told_alike: by digests that can be compared.
    """
    if old.eval_set and new.eval_set:
        if told_alike:
            return old.eval_set != new.eval_set
        return old.eval_set.samples != new.eval_set.samples
    counts = [{metric.of or metric.samples for metric in row.metrics} for row in (old, new)]
    return all(counts) and counts[0] != counts[1]


def _is_unknown(old: Row, new: Row, told_alike: bool) -> bool:
    """Whether nobody can tell whether two rows are of the same samples: they have other digests."""
    return not told_alike and bool(old.eval_set and new.eval_set)


def _speedup(old: Row, new: Row) -> dict[str, Any] | None:
    a, b = old.latency, new.latency
    if not a or not b or a.batch != b.batch or not (a.interval and b.interval):
        return None
    slower = b.interval[1] * NOTEWORTHY < a.interval[0]
    faster = a.interval[1] * NOTEWORTHY < b.interval[0]
    return {"value": [a.speedup, b.speedup], "differs": slower or faster}
