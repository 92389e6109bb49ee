"""Remarks: what must be known of two runs as a whole before their rows are compared, in words."""

from collections.abc import Iterator, Mapping

from pytest_quant.baseline.baseline import Baseline, differences
from pytest_quant.baseline.change_words import Change, metric_words, named
from pytest_quant.baseline.row import Row
from pytest_quant.variant.key import RowKey


def remarks(
    before: Baseline, now: Baseline, pairs: Mapping[RowKey, RowKey], changes: list[Change]
) -> Iterator[str]:
    """What a reader must know, FP32 itself first.

    Args:
        before, now: the two runs.
        pairs: of each key of `now` that is in `before`, the one there.
        changes: of each variant.
    """
    name = before.name
    yield from _on_fp32(name, changes)
    for each in (before, now):
        if each.version == 1:
            yield _lacks(each)
    if before.version > 1 and now.verdicts and not before.verdicts:
        yield f"{name} holds no gates, so limits are not compared"
    for status, words in (("new", f"not in {name}"), ("gone", f"in {name} and not here")):
        if listed := [named(change) for change in changes if change["status"] == status]:
            yield f"{words}: {', '.join(listed)}"
    if differ := differences(before.environment, now.environment):
        yield f"{name} is of another environment ({', '.join(differ)}): speed-ups are not compared"
    others: dict[str, list[str]] = {}
    unknown: list[str] = []
    then, here = ({row.key: row for row in each.rows} for each in (before, now))
    for change in changes:
        if change.get("other_eval_set"):
            key = RowKey.of(change)
            words = f"{_set_words(here[key])} now, {_set_words(then[pairs[key]])} then"
            others.setdefault(words, []).append(named(change))
        elif change.get("samples_unknown"):
            unknown.append(named(change))
        for part in change.get("recipe", ()):
            yield f"{named(change)}: recipe changed since {name}: {part}"
    for words, who in others.items():
        yield (
            f"{', '.join(who)}: accuracy is not compared with {name}'s, since quant_eval_data is "
            f"another ({words})"
        )
    if unknown:
        earlier, later = sorted((before, now), key=lambda each: each.version)
        yield (
            f"{', '.join(unknown)}: accuracy is not compared with {name}'s, since an earlier version saved "
            f"{earlier.name}, which told samples apart by other digests than {later.name}: save it anew"
        )


def _on_fp32(name: str, changes: list[Change]) -> Iterator[str]:
    known = [c for c in changes if c["variant"] == "fp32" and c["status"] == "known"]
    if others := [RowKey.of(change).of_model.named() for change in known if change["weights"]]:
        yield f"FP32's weights changed since {name}: {', '.join(others)}"
    for change in known:
        if moved := [said for each in change["metrics"] if (said := metric_words(each))]:
            same = ", though its weights are the same" if change["weights"] is False else ""
            yield f"{named(change)} itself changed since {name}{same}: {', '.join(moved)}"


def _lacks(baseline: Baseline) -> str:
    """What a file of version 1 cannot tell."""
    holds, told = (
        ("", "checkpoint") if baseline.verdicts else ("no limits and ", "limit or checkpoint")
    )
    return (
        f"{baseline.name} was saved by an earlier version: it holds {holds}no digest of FP32's weights, "
        f"so a changed {told} cannot be told"
    )


def _set_words(row: Row) -> str:
    samples = row.eval_set.samples if row.eval_set else row.metrics[0].samples
    return f"{samples} samples" + (
        f", fingerprint {row.eval_set.fingerprint}" if row.eval_set else ""
    )
