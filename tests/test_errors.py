"""What a terminal is shown: lines as they are, but for what would steer it."""

import unicodedata

import pytest

from pytest_quant.errors import QuantStageError, in_brief, terminal_safe
from pytest_quant.judge.verdict import Outcome, Verdict, clause_of

OWNED = "\x1b]0;owned\x07\x1b[31mred"
SEEN = "\ufffd]0;owned\ufffd\ufffd[31mred"


@pytest.mark.parametrize(
    "text", ["", "resnet18", "one\ntwo\tthree", "漢字 العربية 🐘 é", "50 % | `x`"]
)
def test_plain_text_is_left_alone(text):
    assert terminal_safe(text) == text


def test_no_control_character_is_left_but_tab_and_newline():
    signs = [chr(number) for number in range(0x3000)] + ["\ud800", "\udfff"]
    steering = {sign for sign in signs if unicodedata.category(sign) in ("Cc", "Cs")} - {"\t", "\n"}
    assert {sign for sign in signs if terminal_safe(sign) != sign} >= steering
    assert terminal_safe("".join(sorted(steering))) == "\ufffd" * len(steering)


def test_what_turns_letters_around_is_no_letter():
    assert terminal_safe("\u202egnp.exe") == "\ufffdgnp.exe"


def test_an_error_of_ours_is_safe():
    error = QuantStageError("evaluate", f"metric {OWNED} raised")
    assert str(error) == f"evaluate ERROR: metric {SEEN} raised"
    assert str(error.again()) == str(error)


def test_an_error_of_others_is_safe_in_brief():
    assert in_brief(KeyError(OWNED)) == f"KeyError: {OWNED!r}"
    assert in_brief(ValueError(OWNED)) == f"ValueError: {SEEN}"


def test_a_verdict_is_safe_and_its_names_are_as_they_were():
    verdict = Verdict("max_flips", OWNED, Outcome.FAIL, f"{OWNED} flips", 0.1, 0.2, OWNED, OWNED)
    assert str(verdict) == verdict.sentence == f"{SEEN} FAIL: {SEEN} flips"
    assert clause_of(verdict.to_dict()) == f"{SEEN} flips"
    assert (verdict.model, verdict.variant) == (OWNED, OWNED)
