"""Width: columns of texts and terminals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_quant.report.width import (
    cut_in_the_middle,
    fitted_text,
    folded,
    hung,
    terminal_columns,
    width_of,
)

TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=60)


@pytest.mark.parametrize(("text", "columns"), [("", 0), ("net", 3), ("模型", 4), ("e\u0301", 1)])
def test_letters_take_one_column_or_two_or_none(text, columns):
    assert width_of(text) == columns


def test_of_several_lines_the_longest_counts():
    assert width_of("a\nbcd\nef") == 3


@pytest.mark.parametrize(
    ("text", "most", "cut"),
    [
        ("ResNet", 6, "ResNet"),
        ("ImageClassifierWithARatherLongName", 20, "ImageClas...LongName"),
        ("ImageClassifierWithARatherLongName", 19, "ImageCla...LongName"),
        ("模型分類器很長的名字", 13, "模型...名字"),
    ],
)
def test_both_ends_of_a_name_are_left(text, most, cut):
    assert cut_in_the_middle(text, most) == cut


@given(TEXTS, st.integers(3, 40))
def test_a_cut_name_is_never_too_wide(text, most):
    assert width_of(cut_in_the_middle(text, most)) <= most


@given(TEXTS, st.integers(2, 40))
def test_folding_loses_no_letter_and_keeps_to_the_width(text, width):
    lines = folded(text, width)
    assert width_of(lines) <= width
    assert "".join(lines.split()) == "".join(text.split())


def test_later_lines_are_indented_and_words_broken_where_they_are_longer():
    assert folded("one two three", 7, "  ") == "one two\n  three"
    assert folded("a classifier", 6) == "a\nclassi\nfier"


def test_the_words_of_the_last_column_hang_below_each_other():
    table = "layer  why it is\n-----  ---------------------\nfc     an outlier in a channel"
    assert hung(table, "why it is", 20) == [
        "layer  why it is",
        "-----  -------------",
        "fc     an outlier in",
        "       a channel",
    ]
    assert hung(table, "why it is", None) == table.splitlines()
    assert hung(table, "why it is", 10) == table.splitlines()
    assert hung("", "why", 10) == []


CAUSE = """\
one sentence that is too long for this
layer  why it is
-----  ----------------------
fc     an outlier in a channel
... and 3 layers more

Recipe("static")  # a line of code that is too long
# To paste into conftest.py: quant_static is then built so.
from pytest_quant import Recipe, and_much_more"""


def test_sentences_and_tables_of_a_text_are_folded_and_code_is_not():
    assert fitted_text(CAUSE, 20).splitlines() == [
        "one sentence that is",
        "  too long for this",
        "layer  why it is",
        "-----  -------------",
        "fc     an outlier in",
        "       a channel",
        "... and 3 layers",
        "  more",
        *CAUSE.splitlines()[5:],
    ]
    assert fitted_text(CAUSE, 100) == fitted_text(CAUSE, None) == CAUSE


@pytest.mark.parametrize(
    ("columns", "found"), [("100", 100), ("12", 40), ("0", None), ("", None), ("many", None)]
)
def test_columns_are_asked_for_by_the_environment(monkeypatch, columns, found):
    monkeypatch.setenv("COLUMNS", columns)
    assert terminal_columns() == found


@pytest.mark.parametrize(
    ("word", "width", "lines"),
    [
        ("static_with_percentile_observer", 14, ["static_with_", "percentile_", "observer"]),
        ("static(observer=minmax)", 12, ["static(", "observer=", "minmax)"]),
        ("layer1.0.conv2", 9, ["layer1.0.", "conv2"]),
        ("abcdefghij", 4, ["abcd", "efgh", "ij"]),  # which nothing joins
        ("a_bcdefghij", 4, ["a_", "bcde", "fghi", "j"]),
    ],
)
def test_a_long_name_goes_on_behind_what_joins_its_words(word, width, lines):
    assert folded(word, width).splitlines() == lines
