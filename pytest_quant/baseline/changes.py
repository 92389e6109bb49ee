"""Changes: what differs between two baselines or reports, as plain data and in words."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from pytest_quant.baseline.baseline import Baseline, differences
from pytest_quant.baseline.packing import Packed, unpack_scores
from pytest_quant.baseline.row import MetricScore, Row
from pytest_quant.variant.key import RowKey

Change = dict[str, Any]
Stated = dict[tuple[str, str | None], set[float]]
Scores = tuple[Mapping[str, Packed], Mapping[str, Packed]]
# Of two speed-ups: timed twice on one machine they differ by a few per cent, so less is no change.
NOTEWORTHY = 1.05


def since(before: Baseline, now: Baseline) -> dict[str, Any]:
    """What changed since a baseline: its ``name``, the ``changes`` and ``remarks`` in words.

    Plain JSON types, for the report; a change has the row's ``where``, ``model`` and ``variant``, and
    for each quantity that both know [before, now].
    """
    changes = changes_between(before, now)
    return {
        "name": before.name,
        "changes": changes,
        "remarks": list(_remarks(before, now, changes)),
    }


def changes_between(before: Baseline, now: Baseline) -> list[Change]:
    """One for each variant of either, in the order of `now`, then those that it lacks."""
    same_machine = not differences(before.environment, now.environment)
    changes: list[Change] = []
    there = {row.key: row for row in before.rows}
    then, here = _stated(before), _stated(now)
    for row in now.rows:
        old = there.get(row.key)
        if old is None:
            changes.append(row.key.to_dict() | {"status": "new"})
        else:
            scores = before.scores_of(old), now.scores_of(row)
            change = _change(old, row, scores, same_machine)
            change |= {
                "missing": _missing(old, row),
                "limits": _limits(then.get(row.key, {}), here.get(row.key, {})),
            }
            changes.append(row.key.to_dict() | {"status": "known"} | change)
    known = {row.key for row in now.rows}
    gone = [row for row in before.rows if row.key not in known]
    return changes + [row.key.to_dict() | {"status": "gone"} for row in gone]


def changes_by_row(since: Mapping[str, Any] | None) -> dict[RowKey, Change]:
    """The change of each variant in what `since` gave."""
    return {RowKey.of(change): change for change in (since or {}).get("changes", ())}


def cell_of(change: Change | None, line: int = 0) -> str:
    """A change in a table's cell: ``acc -0.37 pt, size +1.2 %``, ``=``, ``new``, or ``-`` where nothing
    could be compared.

    Args:
        change: of one variant; None is unknown.
        line: of the variant's lines in the table, one for each metric; the first has the rest.
    """
    if change is None or change["status"] != "known":
        return "-" if change is None else change["status"]
    metrics = change["metrics"][line : line + 1]
    parts = [_metric_words(metric) for metric in metrics]
    if line == 0:
        parts += ["other eval set" if change["other_eval_set"] else "", _size_words(change)]
        parts += [*_share_words(change), _speed_words(change)]
        parts += [f"{what} not measured" for what in change.get("missing", ())]
        parts += [_limit_words(limit) for limit in change.get("limits", ())]
    said = [part for part in parts if part]
    if said:
        return ", ".join(said)
    compared = any(metric["comparable"] for metric in metrics)
    if line == 0:
        compared |= any(change[name] is not None for name in ("size", "int8_share"))
    return "=" if compared else "-"


def summary_of(change: Change) -> str:
    """A whole change in one line: ``acc -0.37 pt, size +1.2 %``; all metrics are in it."""
    if change["status"] != "known":
        return str(change["status"])
    lines = range(max(1, len(change["metrics"])))
    cells = [cell_of(change, line) for line in lines]
    return ", ".join(cell for cell in cells if cell not in ("=", "-")) or cells[0]


def is_change(change: Change) -> bool:
    """Whether anything differs, a variant that only one side has included."""
    return summary_of(change) not in ("=", "-")


def _change(old: Row, new: Row, scores: Scores, same_machine: bool) -> Change:
    share = None
    if old.int8_share and new.int8_share:
        shares = old.int8_share, new.int8_share
        share = {of: [getattr(each, of) for each in shares] for of in ("parameters", "macs")}
    size = None
    if old.size and new.size:
        size = [old.size.tensor_bytes, new.size.tensor_bytes]
    recipes = old.recipe or {}, new.recipe or {}
    return {
        "metrics": [_metric(old, new, metric, scores) for metric in new.metrics],
        "other_eval_set": _other_eval_set(old, new),
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


def _limit_words(limit: Mapping[str, Any]) -> str:
    then, now = (", ".join(f"{each:g}" for each in side) for side in limit["limit"])
    return f"{limit['gate']} {then} -> {now or 'no gate'}"


def _metric(old: Row, new: Row, metric: MetricScore, scores: Scores) -> dict[str, Any]:
    was = next((each for each in old.metrics if each.name == metric.name), None)
    comparable = (
        was is not None
        and was.unit == metric.unit
        and None not in (was.value, metric.value)
        and was.is_whole
        and metric.is_whole
        and not _other_eval_set(old, new)
    )
    flips = None
    if comparable and new.eval_set and all(metric.name in each for each in scores):
        a, b = (unpack_scores(each[metric.name], new.eval_set.samples) for each in scores)
        flips = int(np.count_nonzero(a != b))
    return {
        "name": metric.name,
        "unit": metric.unit,
        "value": [was and was.value, metric.value],
        "comparable": comparable,
        "flips": flips,
    }


def _other_eval_set(old: Row, new: Row) -> bool:
    """Whether two rows are known to have been evaluated on different samples."""
    if old.eval_set and new.eval_set:
        return old.eval_set != new.eval_set
    counts = [{metric.of or metric.samples for metric in row.metrics} for row in (old, new)]
    return all(counts) and counts[0] != counts[1]


def _speedup(old: Row, new: Row) -> dict[str, Any] | None:
    a, b = old.latency, new.latency
    if not a or not b or a.batch != b.batch or not (a.interval and b.interval):
        return None
    slower = b.interval[1] * NOTEWORTHY < a.interval[0]
    faster = a.interval[1] * NOTEWORTHY < b.interval[0]
    return {"value": [a.speedup, b.speedup], "differs": slower or faster}


def _metric_words(metric: Mapping[str, Any]) -> str:
    label = "acc" if metric["name"].startswith("top-") else metric["name"]
    if not metric["comparable"]:
        return ""
    before, now = metric["value"]
    if before == now:
        return f"{label} {metric['flips']} flips" if metric["flips"] else ""
    if metric["unit"] == "fraction":
        return f"{label} {_signed(100 * (now - before), 2)} pt"
    if metric["unit"] == "perplexity":
        return f"{label} {_signed(100 * (now / before - 1), 2)} %"
    return f"{label} {now - before:+.4g}"


def _size_words(change: Change) -> str:
    before, now = change["size"] or (0, 0)
    if before == now:
        return ""
    return f"size {_signed(100 * (now / before - 1), 1)} %" if before else f"size +{now} B"


def _share_words(change: Change) -> Iterator[str]:
    for of, label in (("parameters", "int8"), ("macs", "int8 of MACs")):
        before, now = (change["int8_share"] or {}).get(of, (None, None))
        if None not in (before, now) and before != now:
            yield f"{label} {_signed(100 * (now - before), 2)} pt"
            return


def _speed_words(change: Change) -> str:
    speed = change["speedup"]
    if not speed or not speed["differs"]:
        return ""
    return "speed-up {:.2f}x -> {:.2f}x".format(*speed["value"])


def _signed(value: float, digits: int) -> str:
    """With a sign and so many decimals, or with more where these would all be zeros."""
    text = f"{value:+.{digits}f}"
    return f"{value:+.1g}" if float(text) == 0 else text


def _remarks(before: Baseline, now: Baseline, changes: list[Change]) -> Iterator[str]:
    name = before.name
    for change in changes:
        if change["variant"] != "fp32" or change["status"] != "known":
            continue
        if moved := [said for each in change["metrics"] if (said := _metric_words(each))]:
            yield f"{named(change)} itself changed since {name}: {', '.join(moved)}"
    if now.verdicts and not before.verdicts:
        yield f"{name} holds no gates, so limits are not compared"
    for status, words in (("new", f"not in {name}"), ("gone", f"in {name} and not here")):
        if listed := [named(change) for change in changes if change["status"] == status]:
            yield f"{words}: {', '.join(listed)}"
    if differ := differences(before.environment, now.environment):
        yield f"{name} is of another environment ({', '.join(differ)}): speed-ups are not compared"
    others: dict[str, list[str]] = {}
    then, here = ({row.key: row for row in each.rows} for each in (before, now))
    for change in changes:
        if change.get("other_eval_set"):
            key = RowKey.of(change)
            words = f"{_set_words(here[key])} now, {_set_words(then[key])} then"
            others.setdefault(words, []).append(named(change))
        for part in change.get("recipe", ()):
            yield f"{named(change)}: recipe changed since {name}: {part}"
    for words, who in others.items():
        yield (
            f"{', '.join(who)}: accuracy is not compared with {name}'s, since quant_eval_data is "
            f"another ({words})"
        )


def named(what: Mapping[str, Any] | Row) -> str:
    """Of a row, a change or a verdict: the model, with its place, and the variant."""
    key = what.key if isinstance(what, Row) else RowKey.of(what)
    return key.named()


def _set_words(row: Row) -> str:
    samples = row.eval_set.samples if row.eval_set else row.metrics[0].samples
    return f"{samples} samples" + (
        f", fingerprint {row.eval_set.fingerprint}" if row.eval_set else ""
    )
