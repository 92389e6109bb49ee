"""Tables of figures are those of the log or the report that they name, cell for cell."""

import re

import pytest
from pages import PAGES, ROOT, name_of, tables_in, tables_of

QUOTED = [(page, quoted) for page in PAGES for quoted in tables_of(page)]
MARKED = [(page, quoted) for page, quoted in QUOTED if quoted.mark]


def id_of(value):
    return name_of(value) if hasattr(value, "name") else f"line {value.line}"


@pytest.mark.parametrize(("page", "quoted"), MARKED, ids=id_of)
def test_a_table_equals_its_source(page, quoted):
    mark = quoted.mark
    lines = (ROOT / mark["file"]).read_text(encoding="utf-8").splitlines()
    if mark["below"]:
        at = [number for number, line in enumerate(lines) if mark["below"] in line]
        assert at, f"{mark['file']} has no line with {mark['below']!r}; renew it by: {mark['by']}"
        sources = tables_in(lines[at[0] :])[:1]
    else:
        sources = tables_in(lines)
    columns = quoted.table.columns
    fitting = [source for source in sources if set(columns) <= set(source.columns)]
    assert fitting, f"{mark['file']} has no table of the columns {', '.join(columns)}"
    wrong = min((missing(quoted.table, source) for source in fitting), key=len)
    assert not wrong, (
        f"{name_of(page)}, line {quoted.line}: {mark['file']} has no such rows: {wrong}. "
        f"Take its figures over; to measure them anew: {mark['by']}"
    )


def missing(table, source):
    """Rows of a table that its source has not."""
    have = [tuple(row.get(name) for name in table.columns) for row in source.rows]
    return [row for row in map(tuple, (row.values() for row in table.rows)) if row not in have]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_figures_say_where_they_are_from(page):
    for quoted in tables_of(page):
        cells = [cell for row in quoted.table.rows for cell in [*row.values()][1:] if cell]
        figures = [
            cell for cell in cells if re.match(r"-?\d[\d.,]*(x| ?%| pt| MB| ms| \(|$)", cell)
        ]
        if len(figures) > len(cells) / 2:
            assert quoted.mark, (
                f"{name_of(page)}, line {quoted.line}: no <!-- from ...; renew: ... -->"
            )


def test_there_are_figures():
    assert {name_of(page) for page, _ in MARKED} >= {"README.md", "docs/explanation/figures.md"}
