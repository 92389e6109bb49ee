"""Change words: what differs between two rows, in a cell or a line."""

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_quant.baseline.row import Row
from pytest_quant.variant.key import RowKey

Change = dict[str, Any]


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
    parts = [metric_words(metric) for metric in metrics]
    if line == 0:
        parts += ["other weights" if change.get("weights") and change["variant"] == "fp32" else ""]
        parts += ["other eval set" if change["other_eval_set"] else ""]
        parts += ["samples unknown" if change.get("samples_unknown") else "", _size_words(change)]
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


def named(what: Mapping[str, Any] | Row) -> str:
    """Of a row, a change or a verdict: the model, with its place, and the variant."""
    key = what.key if isinstance(what, Row) else RowKey.of(what)
    return key.named()


def _limit_words(limit: Mapping[str, Any]) -> str:
    then, now = (", ".join(f"{each:g}" for each in side) for side in limit["limit"])
    return f"{limit['gate']} {then} -> {now or 'no gate'}"


def metric_words(metric: Mapping[str, Any]) -> str:
    """How one metric changed; empty where it did not, or cannot be compared."""
    label = "acc" if metric["name"].startswith("top-") else metric["name"]
    if not metric["comparable"]:
        return ""
    before, now = metric["value"]
    if before == now:
        what = "flips" if metric["unit"] == "fraction" else "samples differ"
        return f"{label} {metric['flips']} {what}" if metric["flips"] else ""
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
