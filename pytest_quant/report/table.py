"""Table: a report's DataFrame as text for people, through tabulate."""

from typing import Any

import pandas as pd
from tabulate import tabulate

HEADS = {
    "model": "model",
    "variant": "variant",
    "size": "MB",
    "smaller": "smaller",
    "metric": "metric",
    "value": "value",
    "drop": "drop",
    "flips": "flips",
    "ms": "ms/batch",
    "speedup": "speed-up [95 %]",
    "best": "vs best FP32",
    "int8": "int8",
    "gates": "gates",
}
RIGHT = ("size", "smaller", "value", "drop", "flips", "ms", "speedup", "best", "int8")


def table_of(frame: pd.DataFrame, format: str) -> str:
    """The table as text.

    Args:
        frame: as `frame_of` gives it.
        format: one of tabulate's table formats.
    """
    shown = [_cells(line) for line in frame.to_dict("records")]
    if not any(line["metric"] not in ("", "top-1") for line in shown):
        heads = {**HEADS, "value": "top-1"} if shown and any(x["metric"] for x in shown) else HEADS
        heads = {key: head for key, head in heads.items() if key != "metric"}
    else:
        heads = HEADS
    return tabulate(
        [[line[key] for key in heads] for line in shown],
        headers=list(heads.values()),
        tablefmt=format,
        disable_numparse=True,
        colalign=["right" if key in RIGHT else "left" for key in heads],
    )


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
        "ms": _text(line["ms_per_batch"], "{:.4g}"),
        "speedup": _text(line["speedup"], "{:.2f}x") + _interval(line),
        "best": _text(line["speedup_against_best"], "{:.2f}x"),
        "int8": _text(line["int8_share"], "{:.2%}").replace("%", " %"),
        "gates": line["gates"],
    }


def _interval(line: dict[Any, Any]) -> str:
    if pd.isna(line["speedup_low"]):
        return ""
    return f" [{line['speedup_low']:.2f}, {line['speedup_high']:.2f}]"


def _text(value: Any, pattern: str) -> str:
    return "-" if value is None or pd.isna(value) else pattern.format(value)
