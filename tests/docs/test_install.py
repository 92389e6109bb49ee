"""What the pages say of installing is what pyproject.toml says."""

import re
import tomllib

import pytest
from pages import ROOT, tables_of

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FOR_DEVELOPERS = {"zoo", "bench"}


def test_every_extra_is_told():
    (table,) = (quoted.table for quoted in tables_of(ROOT / "docs/how_to/install.md"))
    told = {row["extra"].strip("`") for row in table.rows}
    assert told == set(PROJECT["optional-dependencies"]) - FOR_DEVELOPERS


@pytest.mark.parametrize("page", ["README.md", "docs/how_to/install.md"])
def test_versions_are_those_of_the_project(page):
    text = " ".join((ROOT / page).read_text(encoding="utf-8").split())
    (torch,) = (each for each in PROJECT["dependencies"] if each.startswith("torch"))
    first, beyond = re.fullmatch(r"torch>=2\.(\d+),<2\.(\d+)", torch).groups()
    assert f"PyTorch 2.{first} to 2.{int(beyond) - 1}" in text
    assert f"Python {PROJECT['requires-python'].removeprefix('>=')} or later" in text
    (pytest_itself,) = (each for each in PROJECT["dependencies"] if each.startswith("pytest"))
    assert f"pytest {pytest_itself.removeprefix('pytest>=')} or later" in text
