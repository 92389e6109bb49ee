"""The reference names all that is public, as pytest itself tells of it."""

import re

import pytest
from declarations import options, quant_fixtures
from pages import ROOT
from reference_pages import fixture_text, option_text

import pytest_quant

REFERENCE = ROOT / "docs/reference"


@pytest.fixture
def helped(pytester):
    """What `pytest --help` says."""
    return pytester.runpytest("--help").stdout.str()


def test_every_option_is_there(helped):
    known = set(
        re.findall(r"(?<![\w-])--(?:no-)?quant[a-z0-9-]*", helped.partition("[pytest] conf")[0])
    )
    assert len(known) > 30
    assert {option.flag for option in options()} == known
    text = "".join(map(option_text, options()))
    assert known <= set(re.findall(r"\{option\} (--[a-z0-9-]+)", text))


def test_every_ini_key_is_there(helped):
    known = set(re.findall(r"^  (quant\w*) \(\w+\)", helped, re.M))
    assert len(known) > 25
    assert known <= set(re.findall(r"ini: `(\w+)`", "".join(map(option_text, options()))))


def test_every_fixture_is_there(pytester):
    told = pytester.runpytest("--fixtures").stdout.str()
    known = set(re.findall(r"^(quant_\w+)", told, re.M))
    assert len(known) > 12
    assert {fixture.name for fixture in quant_fixtures()} == known
    assert known <= set(
        re.findall(r"\{py:data\} (\w+)", "".join(map(fixture_text, quant_fixtures())))
    )


def test_pages_ask_for_all_that_is_declared():
    fixtures = (REFERENCE / "fixtures.md").read_text(encoding="utf-8")
    assert re.findall(r"```\{declared-fixtures\}(.*)", fixtures) == ["", " variants"]
    page = (REFERENCE / "options.md").read_text(encoding="utf-8")
    assert re.findall(r"```\{declared-options\}(.*)", page) == ["", " limits"]


@pytest.mark.parametrize("name", pytest_quant.__all__)
def test_every_public_name_is_there(name):
    api = (REFERENCE / "api.md").read_text(encoding="utf-8")
    assert re.search(rf"^\.\. auto\w+:: pytest_quant\.{name}$", api, re.M)


def test_every_hook_is_there():
    from pytest_quant.plugin import hookspecs

    page = (REFERENCE / "fixtures.md").read_text(encoding="utf-8")
    for name in vars(hookspecs):
        assert not name.startswith("pytest_quant_") or f"hookspecs.{name}\n" in page


def test_every_gate_is_among_those_to_choose_from():
    from pytest_quant.judge.limits import LIMITS

    page = (ROOT / "docs/how_to/choose_limits.md").read_text(encoding="utf-8")
    table = "\n".join(line for line in page.splitlines() if line.startswith("|"))
    gates = [name for name in pytest_quant.__all__ if name.startswith("assert_")]
    assert [name for name in gates if f"`{name}(" not in table] == []
    assert [name for name in LIMITS if f"`{name}`" not in table] == []
