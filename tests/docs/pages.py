"""Pages: README and the documentation as text: their prose, their code, their links and their tables."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")], key=lambda page: page.relative_to(ROOT)
)
PAGES = [page for page in PAGES if page.name != "CHANGELOG.md"]
ONLINE = "https://github.com/pytest-quant/pytest-quant/blob/main/"
MARK = re.compile(r'<!-- from (?P<file>[^\s,;]+)(?:, "(?P<below>[^"]+)")?; renew: (?P<by>.+) -->')


def name_of(page: Path) -> str:
    """For the id of a test."""
    return str(page.relative_to(ROOT))


def outside_fences(page: Path) -> Iterator[tuple[int, str]]:
    """The numbered lines of a page that are in no fenced block."""
    fence = ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        opening = re.match(r"\s*(`{3,}|:{3,})", line)
        if fence:
            fence = "" if line.strip() == fence else fence
        elif opening:
            fence = opening[1]
        else:
            yield number, line


def code_of(page: Path, language: str = "python") -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.S)


def files_of(page: Path) -> dict[str, str]:
    """The modules that a page shows whole, by name: blocks whose first line names a file."""
    blocks = [(re.match(r"# (\w+)\.py\n", block), block) for block in code_of(page)]
    return {name[1]: block for name, block in blocks if name}


def anchors_of(page: Path) -> set[str]:
    """What a link's fragment may name: the headings, as GitHub and MyST write them."""
    found = set()
    for _, line in outside_fences(page):
        if heading := re.match(r"#+ (.*)", line):
            words = re.sub(r"[^\w\- ]", "", heading[1].lower())
            found.add(words.strip().replace(" ", "-"))
    return found


class Table(NamedTuple):
    """A table: its columns' names, and its rows by them."""

    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]


class Quoted(NamedTuple):
    """A table of a page, and the comment above it that says where it is from, or None."""

    line: int
    table: Table
    mark: re.Match[str] | None


def tables_of(page: Path) -> list[Quoted]:
    """The tables of a page."""
    lines = dict(outside_fences(page))
    starts = [n for n in lines if _is_bar(lines, n) and not _is_bar(lines, n - 1)]
    found = []
    for start in starts:
        end = start
        while _is_bar(lines, end):
            end += 1
        table = tables_in([lines[n] for n in range(start, end)])[0]
        found.append(Quoted(start, table, MARK.match(lines.get(start - 1, ""))))
    return found


def sources_of(quoted: Quoted) -> list[Table]:
    """The tables of the file that a mark names, or the first one below the line that it names.

    Raises:
        AssertionError: there is no such line.
    """
    assert quoted.mark
    file, below = quoted.mark["file"], quoted.mark["below"]
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    if not below:
        return tables_in(lines)
    at = [number for number, line in enumerate(lines) if below in line]
    assert at, f"{file} has no line with {below!r}; renew it by: {quoted.mark['by']}"
    return tables_in(lines[at[0] :])[:1]


def tables_in(lines: list[str]) -> list[Table]:
    """The tables of a log or a report: with bars, or of columns under a row of dashes."""
    found = []
    for number, line in enumerate(lines):
        if number and re.fullmatch(r"\|[\s:|-]*-[\s:|-]*\|?", line.strip()):
            found.append(_table(lines, number, _barred))
        elif number and re.fullmatch(r"-+(  +-+)+", line.strip()):
            spans = [match.span() for match in re.finditer("-+", line)]
            found.append(_table(lines, number, lambda row, spans=spans: _cut(row, spans)))
    return found


def _table(lines, rule, cells_of):
    columns = cells_of(lines[rule - 1])
    rows = []
    for line in lines[rule + 1 :]:
        cells = cells_of(line)
        if cells is None:
            break
        rows.append(dict(zip(columns, cells, strict=False)))
    return Table(tuple(columns), tuple(rows))


def _barred(line):
    if not line.strip().startswith("|"):
        return None
    return [cell.strip().replace("\\", "") for cell in line.strip().strip("|").split("|")]


def _cut(line, spans):
    return [line[start:end].strip() for start, end in spans] if line.strip() else None


def _is_bar(lines, number):
    return lines.get(number, "").startswith("|")
