"""Renew figures: write what logs and reports say into the tables of README and documentation.

`python tests/docs/renew_figures.py` measures nothing. The comment above a table names the command
that does.
"""

from pages import PAGES, ROOT, Quoted, Table, name_of, sources_of, tables_of


def main() -> None:
    for page in PAGES:
        lines = page.read_text(encoding="utf-8").splitlines()
        before = [*lines]
        for quoted in tables_of(page):
            if quoted.mark:
                first = (
                    quoted.line + 1
                )  # of the rows, counted from 0: below the names and their rule
                lines[first : first + len(quoted.table.rows)] = renewed(quoted)
        if lines != before:
            page.write_text("\n".join(lines) + "\n", encoding="utf-8")
            print(f"renewed: {name_of(page)}")


def renewed(quoted: Quoted) -> list[str]:
    """The rows of a table as its source has them now; those that it has no more are left out."""
    columns = quoted.table.columns
    source = next(each for each in sources_of(quoted) if set(columns) <= set(each.columns))
    key = columns[: _identifying(quoted.table)]
    rows = {tuple(row[name] for name in key): row for row in reversed(source.rows)}
    known = [rows.get(tuple(row[name] for name in key)) for row in quoted.table.rows]
    return [f"| {' | '.join(row[name] for name in columns)} |" for row in known if row]


def _identifying(table: Table) -> int:
    """How many of the first columns tell all rows apart."""
    count = 1
    while len({tuple(row.values())[:count] for row in table.rows}) < len(table.rows):
        count += 1
    return count


if __name__ == "__main__":
    print(f"pages of {ROOT}")
    main()
