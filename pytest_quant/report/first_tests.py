"""First tests: a test file to start from, of what was measured where there was no test yet."""

import json
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

WIDTH = 96  # of a line of the file
HEAD = '"""Which quantized variants may ship. The limits are a little looser than what was measured."""'


def first_tests(looks: Iterable[Mapping[str, Any]], prefix: str = "test") -> str:
    """The text of a test file; of comments alone where no variant is worth a test.

    Args:
        looks: one for each variant of each model: its ``fixture``, its ``recipe``'s name in the hook or
            None, and what `LooseLimits.to_dict` gives; or only ``objection``, where it was not made.
        prefix: of a test function's name, as the repo's configuration wants it.
    """
    of_test: dict[tuple[str, str | None], list[Mapping[str, Any]]] = {}
    for look in looks:
        of_test.setdefault((look["fixture"], look["recipe"]), []).append(look)
    tests, left_out, is_parametrized = [], [], False
    names = _distinct(recipe or fixture.removeprefix("quant_") for fixture, recipe in of_test)
    for name, ((fixture, recipe), of_models) in zip(names, of_test.items(), strict=True):
        if why := next((look["objection"] for look in of_models if look["objection"]), None):
            left_out += _comment(f"No test of {recipe or name} yet: {why.rstrip('.')}.")
        else:
            tests.append("\n".join(_test(f"{prefix}_{name}_may_ship", fixture, recipe, of_models)))
            is_parametrized |= recipe is not None
    if not tests:
        return "\n".join(left_out) + "\n"
    imports = ["import pytest", ""] if is_parametrized else []
    start = "\n".join([HEAD, "", *imports, "from pytest_quant import assert_gates"])
    return "\n\n\n".join([start, *tests, *(["\n".join(left_out)] if left_out else [])]) + "\n"


def _test(
    function: str, fixture: str, recipe: str | None, of_models: list[Mapping[str, Any]]
) -> Iterator[str]:
    if recipe is not None:
        yield f'@pytest.mark.parametrize("quant_variant", [{json.dumps(recipe)}], indirect=True)'
    yield f"def {function}({fixture}):"
    unstated = dict.fromkeys(text for look in of_models for text in look["unstated"])
    for text in unstated:
        yield from _comment(f"{text}: no limit", "    ")
    limits = dict(_loosest(of_models))
    if not limits:  # the repo's configuration states them all
        yield f"    assert_gates({fixture})"
        return
    yield "    assert_gates("
    yield f"        {fixture},"
    for name, (limit, measured) in limits.items():
        yield f"        {name}={limit:g},  # {measured}"
    yield "    )"


def _loosest(of_models: list[Mapping[str, Any]]) -> Iterator[tuple[str, tuple[float, str]]]:
    """Of the limits that all models of a fixture have, each one's loosest, and what was measured there."""
    for name in of_models[0]["limits"]:
        known = [look for look in of_models if name in look["limits"]]
        if len(known) == len(of_models):
            pick: Callable[..., Any] = min if name.startswith("min_") else max
            loosest = pick(known, key=lambda look: look["limits"][name])
            yield name, (loosest["limits"][name], " ".join(loosest["measured"][name].split()))


def _distinct(names: Iterable[str]) -> list[str]:
    """Names of functions, each once."""
    found: dict[str, None] = {}
    for name in names:
        word = plain = re.sub(r"\W+", "_", name).strip("_") or "recipe"
        number = 2
        while word in found:
            word, number = f"{plain}_{number}", number + 1
        found[word] = None
    return list(found)


def _comment(text: str, indent: str = "") -> list[str]:
    start = f"{indent}# "
    return textwrap.wrap(
        " ".join(text.split()), WIDTH, initial_indent=start, subsequent_indent=start,
        break_on_hyphens=False,
    )  # fmt: skip
