"""To paste: what is printed runs as it stands, and makes the recipe that was meant."""

from dataclasses import replace

import pytest
import torch
from builders import toy_variant

import pytest_quant
from pytest_quant import Recipe
from pytest_quant.explain.remedies.to_paste import HELPERS, WIDTH, to_paste
from pytest_quant.explain.remedies.to_paste import pasted as to_be_pasted
from pytest_quant.judge import recorder
from pytest_quant.judge.accuracy_drop import judge_drop
from pytest_quant.judge.asking import Asking
from pytest_quant.judge.limits import LIMITS
from pytest_quant.judge.size_limit import judge_size
from pytest_quant.judge.sqnr_limit import judge_sqnr
from pytest_quant.variant.key import key_of

STATIC = Asking("quant_static", "static", "conftest.py", False, "test_gates.py")
NAMED = Asking("quant_variant", 'ours "v2"', "sub/conftest.py", True, "sub/test_gates.py")
STATED = Asking("quant_variant", None, "conftest.py", False, "test_gates.py")
LAYERS = tuple(f"features.{place}.conv.{part}" for place in range(18) for part in range(2))
RECIPES = [
    Recipe("static", equalize=True),
    Recipe("static", keep_fp32=["head"]),
    Recipe("static", observer="percentile", per_channel=False, keep_fp32=LAYERS),
    Recipe("static", keep_fp32=(torch.nn.LSTM, "head[0]")),
]


def pasted(recipe, asking, gate="max_accuracy_drop", limit=0.02, **more):
    """The text, as a test sees it that asks so, and what is in it when it has run."""
    variant = toy_variant("dynamic", name=asking.name if asking else "static")
    test = recorder.Running("test_gates.py::test_it")
    if asking is not None:
        test.askings[key_of(variant)] = asking
    with recorder.running(test):
        text = to_paste(recipe, variant, gate, limit, **more)
    names = {}
    exec(compile(text, "<pasted>", "exec"), names)
    return text, names


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_hook_says_what_the_fixture_is(recipe):
    text, names = pasted(recipe, STATIC)
    assert names["pytest_quant_recipes"](None) == {"static": recipe}
    assert text.startswith("# To paste into conftest.py: quant_static is then built so.")


@pytest.mark.parametrize("recipe", RECIPES)
def test_beside_a_hook_that_is_there_it_has_a_function_of_its_own(recipe):
    text, names = pasted(recipe, NAMED)
    assert "pytest_quant_recipes" not in names
    (function,) = (
        value for name, value in names.items() if name.startswith("pytest_quant_recipes_")
    )
    assert function(None) == {'ours "v2"': recipe}
    assert text.startswith("# To paste into sub/conftest.py: ")


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_that_a_test_states_is_pasted_as_a_test(recipe):
    text, names = pasted(recipe, STATED)
    (mark,) = _marks(names)
    assert mark.args == ("quant_variant", [recipe])
    assert mark.kwargs == {"indirect": True}
    assert "assert_max_accuracy_drop(quant_variant, 0.02)" in text
    assert text.startswith("# To paste into test_gates.py: ")


def _marks(names):
    (test,) = (value for name, value in names.items() if name.startswith("test_"))
    return test.pytestmark


@pytest.mark.parametrize("recipe", RECIPES)
def test_without_a_test_it_is_the_recipe(recipe):
    _, names = pasted(recipe, None)
    assert names["recipe"] == recipe


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("asking", [STATIC, NAMED, STATED, None])
def test_lines_are_no_longer_than_code_usually_is(recipe, asking):
    text, _ = pasted(recipe, asking)
    assert max(map(len, text.splitlines())) <= WIDTH


def test_another_kind_with_a_fixture_is_a_test_of_that_fixture():
    text, names = pasted(Recipe("dynamic"), STATIC, "min_speedup", 1.5)
    assert "def test_dynamic_in_place_of_static(quant_dynamic):" in text
    assert "assert_min_speedup(quant_dynamic, 1.5)" in text
    assert "Recipe" not in names


def test_another_kind_without_a_fixture_is_a_test_of_its_recipe():
    text, names = pasted(Recipe("weight_only", dtype="int4"), STATIC, "max_size_ratio", 0.3)
    assert _marks(names)[0].args[1] == [Recipe("weight_only", dtype="int4")]
    assert "assert_max_size(quant_variant, ratio=0.3)" in text


def test_a_recipe_of_ones_own_may_change_its_kind():
    _, names = pasted(Recipe("weight_only"), replace(NAMED, has_hook=False))
    assert names["pytest_quant_recipes"](None) == {'ours "v2"': Recipe("weight_only")}


def test_what_else_the_gate_was_asked_stands_in_the_test():
    text, _ = pasted(Recipe("static"), STATED, more='relative=True, metric="f1"', note="so far")
    assert 'assert_max_accuracy_drop(quant_static, 0.02, relative=True, metric="f1")' in text
    assert "(so far)" in text.splitlines()[0]


@pytest.mark.parametrize("gate", [*LIMITS, "max_peak_kb"])
def test_each_gate_has_its_call(gate):
    _, names = pasted(Recipe("static"), STATED, gate, 0.5)
    seen = []
    helper, _ = HELPERS.get(gate, ("assert_gates", ""))
    assert hasattr(pytest_quant, helper)
    names[helper] = lambda variant, *limits, **named: seen.append((limits, named))
    next(value for name, value in names.items() if name.startswith("test_"))(None)
    assert [*seen[0][0], *seen[0][1].values()] == [0.5]


@pytest.mark.parametrize("is_asked", [True, False])
def test_what_is_smaller_or_faster_is_asked_for_the_accuracy_that_was_asked_of_the_variant(
    is_asked,
):
    variant = toy_variant("dynamic", name="dynamic")
    test = recorder.Running("test_gates.py::test_it")
    test.askings[key_of(variant)] = STATED
    with recorder.running(test):
        if is_asked:
            recorder.note(judge_drop(variant, 0.03), variant)
        verdict = judge_size(variant, ratio=0.1)
        lines = to_be_pasted(Recipe("weight_only", dtype="int4"), verdict, variant)
    exec(compile(text := "\n".join(lines), "<pasted>", "exec"), {})
    assert "assert_max_size(quant_variant, ratio=0.1)" in text
    assert ("    assert_max_accuracy_drop(quant_variant, 0.03)" in text) is is_asked


def test_no_gate_is_asked_twice():
    variant = toy_variant("dynamic", name="dynamic")
    test = recorder.Running("test_gates.py::test_it")
    test.askings[key_of(variant)] = STATED
    with recorder.running(test):
        verdict = judge_sqnr(variant, 90.0)
        recorder.note(verdict, variant)
        lines = to_be_pasted(Recipe("static", equalize=True), verdict, variant)
    assert "\n".join(lines).count("assert_min_sqnr(") == 1


def test_a_verdict_on_the_population_is_asked_of_the_population_again():
    variant = toy_variant("dynamic", name="dynamic")
    test = recorder.Running("test_gates.py::test_it")
    test.askings[key_of(variant)] = STATED
    with recorder.running(test):
        verdict = judge_drop(variant, 0.01, scope="population", alpha=0.02)
        lines = to_be_pasted(Recipe("static"), verdict, variant)
    assert '(quant_static, 0.01, scope="population", alpha=0.02)' in "\n".join(lines)
