"""Table: a report's DataFrame as text for people, through tabulate."""

from collections.abc import Collection
from typing import Any

import pandas as pd
from tabulate import tabulate

from pytest_quant.report.frame import SINCE
from pytest_quant.report.text import MOST_NAME, clipped, in_markdown

HEADS = {
    "model": "model",
    "variant": "variant",
    "size": "MB",
    "smaller": "smaller",
    "metric": "metric",
    "value": "value",
    "drop": "drop",
    "flips": "flips",
    "sqnr": "SQNR dB",
    "ms": "ms/batch",
    "speedup": "speed-up [95 %]",
    "best": "vs best FP32",
    "runtime": "vs FP32 there",
    "int8": "int8",
    "gates": "gates",
}
RIGHT = (
    "size",
    "smaller",
    "value",
    "drop",
    "flips",
    "sqnr",
    "ms",
    "speedup",
    "best",
    "runtime",
    "int8",
)
NAMES = ("model", "variant", "metric", "gates")
MOST_CHANGE = 120  # characters of what changed since a baseline
MARKDOWN = ("pipe", "github")


def table_of(frame: pd.DataFrame, format: str, columns: Collection[str] | None = None) -> str:
    """The table as text.

    Args:
        frame: as `frame_of` gives it.
        format: one of tabulate's table formats.
        columns: keys of those to be shown; None for all.
    """
    heads, shown = cells_of(frame)
    if columns is not None:
        heads = {key: head for key, head in heads.items() if key in columns}
    name = in_markdown if format in MARKDOWN else clipped
    for line in shown:
        line |= {key: name(line[key], MOST_NAME) for key in NAMES if key in heads}
        line |= {key: name(line[key], MOST_CHANGE) for key in heads if key.startswith(SINCE)}
    return tabulate(
        [[line[key] for key in heads] for line in shown],
        headers=[
            name(head, MOST_NAME) if key.startswith(SINCE) else head for key, head in heads.items()
        ],
        tablefmt=format,
        disable_numparse=True,
        colalign=["right" if key in RIGHT else "left" for key in heads],
    )


def cells_of(frame: pd.DataFrame) -> tuple[dict[str, str], list[dict[str, str]]]:
    """The heads of the columns by their keys, and each line's cells by theirs; names as they are."""
    shown = [_cells(line) for line in frame.to_dict("records")]
    heads = HEADS
    if not any(line["metric"] not in ("", "top-1") for line in shown):
        heads = {**HEADS, "value": "top-1"} if shown and any(x["metric"] for x in shown) else HEADS
        heads = {key: head for key, head in heads.items() if key != "metric"}
    if all(line["runtime"] == "-" for line in shown):  # of files of other runtimes alone
        heads = {key: head for key, head in heads.items() if key != "runtime"}
    for since in (column for column in frame.columns if column.startswith(SINCE)):
        heads = {**heads, since: since}
        for cells, changed in zip(shown, frame[since], strict=True):
            cells[since] = changed
    return heads, shown


def attention_first(frame: pd.DataFrame) -> pd.DataFrame:
    """The same lines, those of variants with an error or a gate that did not pass at the top."""
    rank: dict[tuple[str, str], int] = {}
    keys = list(zip(frame["model"], frame["variant"], strict=True))
    for key, gates in zip(keys, frame["gates"], strict=True):
        bad = 0 if "FAIL" in gates or "ERROR" in gates else 1 if "INCONCLUSIVE" in gates else 2
        rank[key] = min(bad, rank.get(key, 2))
    order = sorted(range(len(keys)), key=lambda index: rank[keys[index]])
    return frame.iloc[order]


def _cells(line: dict[Any, Any]) -> dict[str, str]:
    fraction = line["unit"] == "fraction"
    value, drop = line["value"], line["drop"]
    return {
        "model": line["model"],
        "variant": line["variant"],
        "size": _text(line["size_mb"], "{:.2f}"),
        "smaller": _text(line["times_smaller"], "{:.2f}x"),
        "metric": line["metric"] if isinstance(line["metric"], str) else "",
        "value": _text(100 * value, "{:.2f} %") if fraction else _text(value, "{:.4g}"),
        "drop": _text(100 * drop, "{:.2f} pt") if fraction else _text(drop, "{:.4g}"),
        "flips": _text(line["flips"], "{:.2%}").replace("%", " %"),
        "sqnr": _text(line["sqnr"], "{:.1f}"),
        "ms": _text(line["ms_per_batch"], "{:.4g}"),
        "speedup": _text(line["speedup"], "{:.2f}x") + _interval(line),
        "best": _text(line["speedup_against_best"], "{:.2f}x"),
        "runtime": _text(line["speedup_against_runtime"], "{:.2f}x"),
        "int8": _text(line["int8_share"], "{:.2%}").replace("%", " %"),
        "gates": line["gates"],
    }


def _interval(line: dict[Any, Any]) -> str:
    if pd.isna(line["speedup_low"]):
        return ""
    return f" [{line['speedup_low']:.2f}, {line['speedup_high']:.2f}]"


def _text(value: Any, pattern: str) -> str:
    return "-" if value is None or pd.isna(value) else pattern.format(value)
