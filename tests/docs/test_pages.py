"""Pages are short enough to read, and what they link to is there."""

import ast
import re

import pytest
from pages import ONLINE, PAGES, ROOT, anchors_of, code_of, name_of, outside_fences, tables_of

LINK = re.compile(r"(?:\]\(|^\[[^\]]+\]: )<?([^)\s>]+)")
each_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


def test_the_readme_is_a_front_door():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize(
    "command",
    [
        'pip install -e ".[test]" && pytest --quant example_project',
        'pip install -e ".[test]" && pytest',
    ],
)
def test_the_readme_has_a_command_by_itself(command):
    assert f"{command}\n" in code_of(ROOT / "README.md", "sh")


@each_page
def test_lines_are_short(page):
    long = [
        (number, len(line))
        for number, line in outside_fences(page)
        if len(line) >= 120 and not line.startswith("|")
    ]
    assert not long


@each_page
def test_tables_are_narrow(page):
    lines = page.read_text(encoding="utf-8").splitlines()
    wide = [
        (n, len(line)) for n, line in enumerate(lines, 1) if line[:1] == "|" and len(line) > 100
    ]
    assert not wide


@each_page
def test_tables_are_whole(page):
    for quoted in tables_of(page):
        assert all(len(row) == len(quoted.table.columns) for row in quoted.table.rows), quoted.line


@each_page
def test_links_lead_somewhere(page):
    broken = []
    for number, line in outside_fences(page):
        for link in LINK.findall(line):
            path, _, anchor = link.partition("#")
            if path.startswith(ONLINE):
                target = ROOT / path.removeprefix(ONLINE)
            elif "://" in path:
                continue
            else:
                target = (page.parent / path).resolve() if path else page
            if not target.exists() or (anchor and anchor not in anchors_of(target)):
                broken.append((number, link))
    assert not broken


@each_page
def test_code_is_python(page):
    for block in code_of(page):
        ast.parse(block)


def test_every_page_is_in_the_contents():
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    for page in PAGES:
        if page.is_relative_to(ROOT / "docs") and page.name != "index.md":
            name = str(page.relative_to(ROOT / "docs").with_suffix(""))
            assert f"\n{name}\n" in index
