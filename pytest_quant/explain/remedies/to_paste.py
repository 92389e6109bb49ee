"""To paste: a recipe as the Python that a conftest.py or a test file takes as it stands."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_quant.explain.remedies.as_python import arguments_of, as_python
from pytest_quant.judge.asking import Asking
from pytest_quant.judge.limits import ALPHA
from pytest_quant.judge.recorder import current
from pytest_quant.judge.verdict import Verdict
from pytest_quant.variant.key import key_of
from pytest_quant.variant.recipe import FIXTURE_KINDS, Recipe
from pytest_quant.variant.variant import Variant

WIDTH = 88  # columns of a line of code
# The helper and the argument that judge a gate's limit.
HELPERS = {
    "max_accuracy_drop": ("assert_max_accuracy_drop", ""),
    "min_speedup": ("assert_min_speedup", ""),
    "max_size_ratio": ("assert_max_size", "ratio="),
    "max_size_mb": ("assert_max_size", "mb="),
    "min_int8_share": ("assert_min_int8_share", ""),
    "max_slice_drop": ("assert_max_slice_drop", ""),
    "max_flips": ("assert_max_flips", ""),
    "min_sqnr": ("assert_min_sqnr", ""),
}
OF_ACCURACY = ("max_accuracy_drop", "min_sqnr", "max_flips")


def to_paste(
    recipe: Recipe,
    variant: Variant,
    gate: str,
    limit: float,
    *,
    more: str = "",
    note: str = "",
    also: Mapping[str, Any] | None = None,
) -> str:
    """A recipe in the place of a variant's own: what `pytest_quant_recipes` returns from then on for the
    fixture that the running test uses; where that fixture cannot have such a recipe, a test of it.

    Args:
        recipe: the remedy.
        variant: whose gate FAILed.
        gate, limit: that a test of the recipe judges.
        more: further arguments of that gate.
        note: what is to be known of the remedy.
        also: a verdict whose gate a test of the recipe judges as well.
    """
    asking = current().askings.get(key_of(variant))
    said = f" ({note})" if note else ""
    if asking is None:
        lines = [f"# The recipe to build it by{said}.", *_imports(recipe, "Recipe"), ""]
        return "\n".join([*lines, *_statement("recipe = ", recipe)])
    if asking.name is not None and (asking.name not in FIXTURE_KINDS or asking.name == recipe.kind):
        return "\n".join(_hook(recipe, asking, said))
    gates = [(gate, _call(gate, limit, more))]
    if also is not None:
        gates.append(
            (
                also["gate"],
                _call(also["gate"], also["limit"], more_of(also, variant.admitted.metrics[0].name)),
            )
        )
    return "\n".join(_test(recipe, variant, asking, gates, said))


def _hook(recipe: Recipe, asking: Asking, said: str) -> Iterator[str]:
    name = str(asking.name)
    what = asking.fixture if asking.fixture == f"quant_{name}" else f"{asking.fixture}[{name}]"
    yield f"# To paste into {asking.file}: {what} is then built so{said}."
    function = "pytest_quant_recipes"
    if asking.has_hook:  # which a second function of its name would take the place of
        yield "import pytest"
        function += f"_{_word(name)}"
    yield from _imports(recipe, "Recipe")
    yield from ("", "")
    if asking.has_hook:
        yield '@pytest.hookimpl(specname="pytest_quant_recipes", tryfirst=True)'
    yield f"def {function}(config):"
    yield from _statement(f'    return {{"{_escaped(name)}": ', recipe, "}")


def _test(
    recipe: Recipe, variant: Variant, asking: Asking, gates: list[tuple[str, str]], said: str
) -> Iterator[str]:
    by_fixture = recipe.kind in FIXTURE_KINDS and as_python(recipe) == as_python(
        Recipe(recipe.kind)
    )
    fixture = f"quant_{recipe.kind}" if by_fixture else "quant_variant"
    yield f"# To paste into {asking.test_file}: a test of it{said}."
    calls = [(HELPERS.get(gate, ("assert_gates", ""))[0], call) for gate, call in gates]
    helpers = ", ".join(sorted({helper for helper, _ in calls}))
    if by_fixture:
        yield f"from pytest_quant import {helpers}"
    else:
        yield "import pytest"
        yield from _imports(recipe, f"Recipe, {helpers}")
    yield from ("", "")
    if not by_fixture:
        yield from _statement(
            '@pytest.mark.parametrize("quant_variant", [', recipe, "], indirect=True)"
        )
    yield f"def test_{recipe.kind}_in_place_of_{_word(variant.name)}({fixture}):"
    for helper, call in calls:
        yield f"    {helper}({fixture}, {call})"


def _call(gate: str, limit: float, more: str) -> str:
    _, argument = HELPERS.get(gate, ("", f"{gate}="))
    return f"{argument}{limit!r}{f', {more}' if more else ''}"


def more_of(verdict: Mapping[str, Any], first_metric: str | None) -> str:
    """The arguments of a verdict's gate beside its limit; of a verdict as plain data."""
    evidence = verdict["evidence"]
    said = ["relative=True"] if evidence.get("relative") else []
    if evidence.get("scope") == "population":
        said.append('scope="population"')
        alpha = evidence.get("alpha", ALPHA)
        said += [f"alpha={alpha!r}"] if alpha != ALPHA else []
    if verdict["metric"] is not None and verdict["metric"] != first_metric:
        said.append(f'metric="{_escaped(verdict["metric"])}"')
    return ", ".join(said)


def _imports(recipe: Recipe, names: str) -> list[str]:
    modules = {kept.__module__ for kept in recipe.keep_fp32 if isinstance(kept, type)}
    modules = {"torch" if name.startswith("torch.") else name for name in modules}
    return [*(f"import {name}" for name in sorted(modules)), f"from pytest_quant import {names}"]


def _statement(start: str, recipe: Recipe, end: str = "") -> list[str]:
    """On one line, or with an argument on each."""
    whole = f"{start}{as_python(recipe)}{end}"
    if len(whole) <= WIDTH:
        return [whole]
    indent = " " * (len(start) - len(start.lstrip()))
    lines = [f"{start}Recipe("]
    for argument in arguments_of(recipe):
        lines += _argument(argument, f"{indent}    ")
    return [*lines, f"{indent}){end}"]


def _argument(text: str, indent: str) -> list[str]:
    """An argument; a long list has as many items on a line as fit."""
    if len(indent) + len(text) + 1 <= WIDTH or "[" not in text:
        return [f"{indent}{text},"]
    start, items = text[: text.index("[") + 1], text[text.index("[") + 1 : -1].split(", ")
    lines, inner = [f"{indent}{start}"], f"{indent}    "
    for item in items:
        if len(lines) > 1 and len(f"{lines[-1]} {item},") <= WIDTH:
            lines[-1] += f" {item},"
        else:
            lines.append(f"{inner}{item},")
    return [*lines, f"{indent}],"]


def _word(name: str) -> str:
    return re.sub(r"\W+", "_", name).strip("_") or "variant"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def pasted(recipe: Recipe | None, verdict: Verdict, variant: Variant) -> list[str]:
    """A recipe that nobody has measured, set off as lines to paste; nothing without one."""
    if recipe is None or verdict.gate == "no_regression":
        return []
    if variant.has_failed(recipe.kind, recipe.flow):
        return []
    more = more_of(verdict.to_dict(), variant.admitted.metrics[0].name)
    code = to_paste(
        recipe,
        variant,
        verdict.gate,
        verdict.limit,
        more=more,
        note="not measured yet",
        also=_on_accuracy(verdict, variant),
    )
    return ["", code]


def _on_accuracy(verdict: Verdict, variant: Variant) -> Mapping[str, Any] | None:
    """What the variant was asked of its accuracy beside a verdict on something else, since a smaller or
    faster model may lose it."""
    if verdict.metric is not None or verdict.gate in OF_ACCURACY:
        return None
    asked = [each for each in variant.verdicts if each["gate"] in OF_ACCURACY]
    return asked[0] if asked else None
