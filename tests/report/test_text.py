"""Text of others stays text, wherever it is shown."""

import pytest

from pytest_quant.report.text import clipped, in_markdown, in_spreadsheet, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("one\ntwo\r\n\tthree", "one two three"),
        ("\x1b[31mred\x00", "\ufffd[31mred\ufffd"),
        ("\u202egnp.exe", "\ufffdgnp.exe"),
        ("half \ud800", "half \ufffd"),
        ("🐘 漢字 é", "🐘 漢字 é"),
        ("👩‍🔬", "👩‍🔬"),
        ("", ""),
    ],
)
def test_what_steers_a_terminal_or_fits_no_file_is_replaced(text, shown):
    assert printable(text) == shown
    assert printable(text).encode("utf-8").decode() == shown


def test_a_long_text_is_clipped_and_says_so():
    assert clipped("abc", 3) == "abc"
    assert clipped("abcdefgh", 6) == "abc..."
    assert len(clipped("word " * 10**6, 60)) <= 60


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b", r"a\|b"),
        ("<b>", "&lt;b&gt;"),
        ("a & b", "a &amp; b"),
        ("&lt;", "&amp;lt;"),
        ("one\ntwo", "one two"),
        ("layer_1 * [x](y) `z`", r"layer\_1 \* \[x\](y) \`z\`"),
        (r"a\|b", r"a\\\|b"),
        ("~~x~~ $y$", r"\~\~x\~\~ &#36;y&#36;"),
        ("plain", "plain"),
        ("", ""),
    ],
)
def test_a_text_stays_text_in_markdown(text, shown):
    assert in_markdown(text) == shown


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@sum", "'@sum"),
        ("\t=1", "'=1"),
        ("a=1", "a=1"),
        ("", ""),
    ],
)
def test_a_name_is_no_formula_in_a_spreadsheet(text, cell):
    assert in_spreadsheet(text) == cell
