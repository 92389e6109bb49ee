"""Tables of figures are those of the log or the report that they name, cell for cell."""

import re

import pytest
from pages import PAGES, Quoted, Table, name_of, sources_of, tables_of
from renew_figures import renewed

QUOTED = [(page, quoted) for page in PAGES for quoted in tables_of(page)]
MARKED = [(page, quoted) for page, quoted in QUOTED if quoted.mark]


def id_of(value):
    return name_of(value) if hasattr(value, "name") else f"line {value.line}"


@pytest.mark.parametrize(("page", "quoted"), MARKED, ids=id_of)
def test_a_table_equals_its_source(page, quoted):
    mark = quoted.mark
    columns = quoted.table.columns
    fitting = [source for source in sources_of(quoted) if set(columns) <= set(source.columns)]
    assert fitting, f"{mark['file']} has no table of the columns {', '.join(columns)}"
    wrong = min((missing(quoted.table, source) for source in fitting), key=len)
    assert not wrong, (
        f"{name_of(page)}, line {quoted.line}: {mark['file']} has no such rows: {wrong}. "
        f"To measure them anew: {mark['by']}; to take them over: python tests/docs/renew_figures.py"
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


@pytest.mark.parametrize(("page", "quoted"), MARKED, ids=id_of)
def test_renewing_what_is_current_changes_nothing(page, quoted):
    lines = page.read_text(encoding="utf-8").splitlines()
    first = quoted.line + 1
    now = lines[first : first + len(quoted.table.rows)]
    assert [split(row) for row in renewed(quoted)] == [split(row) for row in now]


def split(row):
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_renewing_mends_a_figure():
    _, quoted = next(each for each in MARKED if each[0].name == "README.md")
    first, *others = quoted.table.rows
    wrong = Quoted(
        quoted.line, Table(quoted.table.columns, ({**first, "MB": "0"}, *others)), quoted.mark
    )
    assert renewed(wrong) == renewed(quoted)


def test_there_are_figures():
    assert {name_of(page) for page, _ in MARKED} >= {"README.md", "docs/explanation/figures.md"}
