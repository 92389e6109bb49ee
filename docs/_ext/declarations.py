"""Declarations: options, ini keys and fixtures, read from the code that declares them to pytest."""

import inspect
from typing import Any, NamedTuple

from pytest_quant.plugin import fixtures
from pytest_quant.plugin.options import add_options


class Declared(NamedTuple):
    """One option: its flag on the command line, its key in ini, or both.

    Args:
        flag: such as ``--quant-report``; None where only ini has it.
        metavar: what it takes, such as DIR; None for a switch.
        key: such as ``quant_report``; None where only the command line has it.
        type: of the ini value.
        help: as `pytest --help` prints it.
    """

    flag: str | None
    metavar: str | None
    key: str | None
    type: str | None
    help: str


class _Parser:
    """Takes the place of pytest's parser, and keeps what it is told."""

    def __init__(self) -> None:
        self.flags: dict[str, dict[str, Any]] = {}
        self.keys: dict[str, tuple[str, str]] = {}

    def getgroup(self, name: str, description: str = "") -> "_Parser":
        return self

    def addoption(self, *flags: str, **settings: Any) -> None:
        for flag in flags:
            self.flags[flag] = settings

    def addini(self, name: str, help: str, type: str = "string", default: Any = None) -> None:
        self.keys[name] = (help, type)


def options() -> list[Declared]:
    """Every option that the plugin declares, in its own order."""
    parser = _Parser()
    add_options(parser)  # type: ignore[arg-type]
    found = []
    for flag, settings in parser.flags.items():
        key = settings["dest"] if settings["dest"] in parser.keys else None
        type = parser.keys[key][1] if key else None
        text = settings["help"].replace("%%", "%")
        found.append(Declared(flag, settings.get("metavar"), key, type, text))
    said = {option.key for option in found}
    found += [
        Declared(None, None, key, type, text)
        for key, (text, type) in parser.keys.items()
        if key not in said
    ]
    return found


class Fixture(NamedTuple):
    """A fixture of the plugin.

    Args:
        name: such as ``quant_model``.
        help: its docstring, as `pytest --fixtures` prints it.
        is_variant: whether a test asks for it; else a conftest overrides it.
    """

    name: str
    help: str
    is_variant: bool


def quant_fixtures() -> list[Fixture]:
    """The public fixtures, in the order of their file."""
    return [
        Fixture(
            name,
            inspect.getdoc(value) or "",
            "_quant_switch" in inspect.signature(value).parameters,
        )
        for name, value in vars(fixtures).items()
        if name.startswith("quant_")
    ]
