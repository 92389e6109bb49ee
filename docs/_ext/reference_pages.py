"""Reference pages: Sphinx directives that write out what the plugin declares, at each build."""

import inspect
import re
from typing import Any, ClassVar

from declarations import Declared, Fixture, options, quant_fixtures
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.ext.napoleon import GoogleDocstring
from sphinx.util.docutils import SphinxDirective

import pytest_quant
from pytest_quant import explain as explain_package
from pytest_quant.explain.lost.explanation import Explanation
from pytest_quant.explain.lost.locate import explain
from pytest_quant.explain.remedies.remedy import Remedy
from pytest_quant.judge.limits import LIMITS
from pytest_quant.quantize.saved.variant_file import Loaded
from pytest_quant.store.store import Store
from pytest_quant.variant.evaluation import Evaluation
from pytest_quant.variant.measurements import Int8Share, Size
from pytest_quant.variant.rounds import Pair
from pytest_quant.variant.variant import Variant

# What users are given and never construct, so that a constructor's arguments say nothing to them.
GIVEN = (Variant, Store, Loaded, Explanation, Remedy, Evaluation, Size, Int8Share, Pair)
CODE = re.compile(r"((?<!\w)(?:--[a-z][\w-]*|quant_\w+|report\.\w+|model\(\**x\)))")
NAMED = re.compile(r"(?<![`:])`([^`<>]+)`(?![`_])")


class DeclaredOptions(SphinxDirective):
    """``declared-options``: the options, or with the argument ``limits`` those that state a limit."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        of_limits = bool(self.arguments)
        chosen = [each for each in options() if is_limit(each) is of_limits]
        return self.parse_text_to_nodes("\n".join(map(option_text, chosen)))


class DeclaredFixtures(SphinxDirective):
    """``declared-fixtures``: those to override, or with the argument ``variants`` those to ask for."""

    optional_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {}

    def run(self) -> list[nodes.Node]:
        of_variants = bool(self.arguments)
        chosen = [each for each in quant_fixtures() if each.is_variant is of_variants]
        return self.parse_text_to_nodes("\n".join(map(fixture_text, chosen)))


def is_limit(option: Declared) -> bool:
    """Whether an option states a gate's limit."""
    return (option.key or "").removeprefix("quant_") in LIMITS


def option_text(option: Declared) -> str:
    """An option as MyST."""
    heading = f"{option.flag}={option.metavar}" if option.metavar else str(option.flag)
    ini = f"ini: `{option.key}` ({option.type})" if option.key else "command line only"
    help = option.help[0].upper() + option.help[1:]
    return f"```{{option}} {heading}\n{_plain(help)}\n\n*{ini}*\n```\n"


def fixture_text(fixture: Fixture) -> str:
    """A fixture as MyST."""
    paragraphs = fixture.help.removeprefix("Override: ").split("\n\n")
    first, *rest = [" ".join(paragraph.split()) for paragraph in paragraphs]
    first = first[0].upper() + first[1:]
    text = "\n\n".join(_plain(each) for each in (first, *rest))
    return f"```{{py:data}} {fixture.name}\n:no-index-entry:\n\n{text}\n```\n"


def _plain(text: str) -> str:
    """Text of a program's help: of ours names become code, and nothing else is markup."""
    parts = CODE.split(text)
    parts[::2] = [re.sub(r"([\\*_<>\[\]|])", r"\\\1", part) for part in parts[::2]]
    parts[1::2] = [f"`{part}`" for part in parts[1::2]]
    return "".join(parts)


def link_public_names(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Names in single backticks: public ones become links, all others code."""
    if obj is explain_package:  # a package that can be called
        lines[:] = GoogleDocstring(
            inspect.getdoc(explain) or "", app.config, app, what, name
        ).lines()

    def role(match: re.Match[str]) -> str:
        given = match[1]
        first = given.partition(".")[0]
        if first in pytest_quant.__all__ and given.isidentifier():
            return f":py:obj:`~pytest_quant.{given}`"
        return f"``{given}``"

    lines[:] = [NAMED.sub(role, line) for line in lines]


def shorten_signature(
    app: Sphinx,
    what: str,
    name: str,
    obj: Any,
    options: Any,
    given: str | None,
    returns: str | None,
) -> tuple[str, str | None] | None:
    """No signature for classes that users are given; of others defaults as their source has them."""
    if obj in GIVEN:
        return "", None
    if obj is explain_package:
        return str(inspect.signature(explain, eval_str=False)).partition(" -> ")[0], "Explanation"
    if what != "class" or given is None:
        return None
    given = re.sub(r"~[\w.]+\.(\w+)", r"\1", given)
    given = re.sub(r"<function _?(\w+)>", r"\1", given)
    return given.replace("<factory>", "...").replace("PosixPath('.')", "Path()"), returns


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("declared-options", DeclaredOptions)
    app.add_directive("declared-fixtures", DeclaredFixtures)
    # after Napoleon, which has its say at 500
    app.connect("autodoc-process-docstring", link_public_names, priority=900)
    app.connect("autodoc-process-signature", shorten_signature)
    return {"parallel_read_safe": True, "env_version": 1}
