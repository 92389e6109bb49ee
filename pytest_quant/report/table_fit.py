"""Table fit: the table of a report for a terminal, no wider than that, without what nobody has measured."""

import pandas as pd
from tabulate import tabulate

from pytest_quant.report.frame import SINCE
from pytest_quant.report.table import MOST_CHANGE, NAMES, cells_of, table_of
from pytest_quant.report.text import clipped, printable
from pytest_quant.report.width import cut_in_the_middle, folded, width_of

Cells = dict[str, str]
Lines = list[Cells]
# Formats whose lines are for the eye; the others' syntax stays as it is.
FITTED = (
    "simple", "plain", "presto", "pretty", "psql", "rst", "orgtbl", "grid", "outline", "fancy_grid",
    "fancy_outline", "simple_grid", "simple_outline", "rounded_grid", "rounded_outline", "heavy_grid",
    "heavy_outline", "double_grid", "double_outline", "mixed_grid", "mixed_outline", "colon_grid",
)  # fmt: skip
NOTHING = ("", "-")
ALWAYS = ("model", "variant")
HEAD = 2  # columns that a head takes beside its text
MOST_NAME = 200  # characters, where there is room for all
# Columns that names are cut down to, and verdicts folded into: first as far as reads well, then further.
NARROWER = {"model": 24, "variant": 20, "gates": 22}
NARROWEST = {"model": 16, "metric": 12, "variant": 12, "gates": 14}
CHANGE = 24  # columns of what changed since a baseline


def terminal_table(frame: pd.DataFrame, format: str, columns: int | None) -> str:
    """The table without columns that hold nothing; one block for each model where it would be too wide.

    Args:
        frame: as `frame_of` gives it.
        format: one of tabulate's table formats.
        columns: that a line may have; None for any number.
    """
    heads, lines = cells_of(frame)
    heads = _known(heads, lines)
    if format not in FITTED:
        return table_of(frame, format, tuple(heads))
    lines = [{key: _shown(key, line[key]) for key in heads} for line in lines]
    return laid_out(heads, lines, format, columns)


def laid_out(heads: Cells, lines: Lines, format: str, columns: int | None) -> str:
    """Lines of variants as a table that fits.

    Args:
        heads: by the keys of the columns, of which the first is ``model``, the second ``variant``.
        lines: the cells of each by these keys.
        format: one of `FITTED`.
        columns: that a line may have; None for any number.
    """
    whole = _as_rows(heads, lines, format, columns)
    if whole is not None or columns is None:
        return whole or ""
    blocks = [[line for line in lines if line["model"] == name] for name in _names(lines)]
    heads = {key: head for key, head in heads.items() if key != "model"}
    rows = [_as_rows(_known(heads, block), block, format, columns) for block in blocks]
    shown = (
        [_as_columns(_known(heads, block), block, format, columns) for block in blocks]
        if None in rows
        else [row for row in rows if row is not None]
    )
    titles = [folded(block[0]["model"], columns) for block in blocks]
    return "\n\n".join(f"{title}\n{text}" for title, text in zip(titles, shown, strict=True))


def _known(heads: Cells, lines: Lines) -> Cells:
    """The columns in which anything stands."""
    return {
        key: head
        for key, head in heads.items()
        if key in ALWAYS or key.startswith(SINCE) or any(x[key] not in NOTHING for x in lines)
    }


def _shown(key: str, text: str) -> str:
    return clipped(text, MOST_CHANGE) if key.startswith(SINCE) else clipped(text, MOST_NAME)


def _is_text(key: str) -> bool:
    return key in NAMES or key.startswith(SINCE)


def _names(lines: Lines) -> list[str]:
    return list(dict.fromkeys(line["model"] for line in lines))


# a line for each variant


def _as_rows(heads: Cells, lines: Lines, format: str, columns: int | None) -> str | None:
    """The table, if it fits when names are cut and cells with several words are folded."""
    text = _rendered(heads, lines, format)
    if columns is None or width_of(text) <= columns:
        return text
    for key in [key for key in heads if key.startswith(SINCE)]:
        heads, lines = _narrower(heads, lines, key, CHANGE, format, columns)
    for key, least in (*NARROWER.items(), *NARROWEST.items()):
        if key in heads:
            heads, lines = _narrower(heads, lines, key, least, format, columns)
    text = _rendered(heads, lines, format)
    return text if width_of(text) <= columns else None


def _narrower(
    heads: Cells, lines: Lines, key: str, least: int, format: str, columns: int
) -> tuple[Cells, Lines]:
    """With one column as narrow as is needed, but no narrower than allowed."""
    over = width_of(_rendered(heads, lines, format)) - columns
    if over <= 0:
        return heads, lines
    now = max(width_of(text) for text in (heads[key], *(line[key] for line in lines)))
    room = max(least, now - over)
    cells = [cut_in_the_middle(line[key], room) for line in lines]
    is_name = (
        key in NAMES and key != "gates" and len(set(cells)) == len({line[key] for line in lines})
    )
    if not is_name:  # or two names would become one
        cells = [_folded(line[key], room) for line in lines]
    if key.startswith(SINCE):
        heads = {**heads, key: _folded(heads[key], room)}
    return heads, [{**line, key: text} for line, text in zip(lines, cells, strict=True)]


def _folded(text: str, width: int) -> str:
    """On lines that break before an interval and between verdicts before they break elsewhere."""
    if width_of(text) <= width:
        return text
    parts = text.replace(" [", "\n[") if " [" in text else text.replace(", ", ",\n")
    return "\n".join(folded(part, width) for part in parts.splitlines())


def _rendered(heads: Cells, lines: Lines, format: str) -> str:
    return tabulate(
        [[line[key] for key in heads] for line in lines],
        headers=list(heads.values()),
        tablefmt=format,
        disable_numparse=True,
        colalign=["left" if _is_text(key) else "right" for key in heads],
    )


# a column for each variant


def _as_columns(heads: Cells, lines: Lines, format: str, columns: int) -> str:
    """One model's block with its variants side by side, as many as fit, then the others below."""
    variants = list(_by_variant(lines).items())
    heads = {key: head for key, head in heads.items() if key not in ALWAYS}
    parts: list[str] = []
    while variants:
        count = min(len(variants), columns // NARROWEST["variant"])
        while count > 1 and width_of(_beside(heads, variants[:count], format, columns)) > columns:
            count -= 1
        parts.append(_beside(heads, variants[:count], format, columns))
        variants = variants[count:]
    return "\n\n".join(parts)


def _by_variant(lines: Lines) -> dict[str, Lines]:
    """Each variant's lines, of which those after the first have further metrics."""
    found: dict[str, Lines] = {}
    for line in lines:
        found.setdefault(line["variant"], []).append(line)
    return found


def _beside(heads: Cells, variants: list[tuple[str, Lines]], format: str, columns: int) -> str:
    """A table of these variants, whose cells take what room there is beside the heads."""
    labels: list[str] = []
    cells: list[list[str]] = []
    most = max(len(lines) for _, lines in variants)
    for place in range(most):
        for key, head in heads.items():
            found = [lines[place][key] if place < len(lines) else "" for _, lines in variants]
            if any(text not in NOTHING for text in found):
                labels.append(head)
                cells.append(found)
    beside = columns - max(map(width_of, labels), default=0)
    room = max(NARROWEST["variant"], beside // len(variants) - 3)
    folded_cells = [[_folded(text, room) for text in each] for each in cells]
    return tabulate(
        [[label, *each] for label, each in zip(labels, folded_cells, strict=True)],
        headers=["", *(folded(printable(name), room - HEAD) for name, _ in variants)],
        tablefmt=format,
        disable_numparse=True,
        colalign=["left", *["right"] * len(variants)],
    )
