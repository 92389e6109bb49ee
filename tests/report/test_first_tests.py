"""The text of a test file that `--quant-all` proposes."""

import pytest

from pytest_quant.report.first_tests import first_tests


def look(fixture="quant_static", recipe=None, objection=None, unstated=(), **limits):
    measured = {name: f"{name}\nmeasured" for name in limits}
    return {
        "fixture": fixture,
        "recipe": recipe,
        "limits": limits,
        "measured": measured,
        "unstated": list(unstated),
        "objection": objection,
    }


def functions_of(text):
    compiled: dict = {}
    exec(compile(text, "test_it.py", "exec"), compiled)
    return [name for name in compiled if name.endswith("_may_ship")]


def test_of_several_models_the_loosest_limit_counts_and_one_that_not_all_have_is_left_out():
    text = first_tests(
        [
            look(max_accuracy_drop=0.01, min_speedup=2.0, max_size_ratio=0.4),
            look(max_accuracy_drop=0.02, min_speedup=1.5),
        ]
    )
    assert "max_accuracy_drop=0.02," in text
    assert "min_speedup=1.5," in text
    assert "max_size_ratio" not in text
    assert functions_of(text) == ["test_static_may_ship"]


@pytest.mark.parametrize(
    "recipe", ['a"b', "a'b\\", "line\nbreak", "\x1b[31m", "\u202eevil", "é", "1st"]
)
def test_any_name_of_a_recipe_is_python(recipe):
    text = first_tests([look("quant_variant", recipe, max_size_ratio=0.4)])
    assert len(functions_of(text)) == 1
    assert text.isascii() or recipe == "é"


def test_recipes_whose_names_share_a_word_get_a_function_each():
    text = first_tests(
        [look("quant_variant", name, max_size_ratio=0.4) for name in ("a-b", "a_b", "a b", "!")]
    )
    assert len(functions_of(text)) == 4


def test_what_is_left_out_is_a_comment_however_long_its_reason():
    text = first_tests([look(objection="why\n" * 200), look("quant_dynamic", max_size_ratio=0.5)])
    assert functions_of(text) == ["test_dynamic_may_ship"]
    assert max(map(len, text.splitlines())) <= 100


def test_where_nothing_is_worth_a_test_there_are_comments_alone():
    text = first_tests([look(objection="it is no good")])
    assert text == "# No test of static yet: it is no good.\n"
