"""Text of somebody else's that a terminal can be shown: names steer nothing and turn nothing around."""

import re

# Control characters but for tab and newline; halves of a pair, which no file can hold; and what turns the
# order of the letters that follow around, so that a text reads as what it is not.
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")


def terminal_safe(text: str) -> str:
    """The same lines, with a mark in place of each character that steers a terminal.

    Each sentence is made safe where it is made (a Verdict, a QuantStageError, a refusal) and each line
    where it is written, so that a name keeps its characters wherever it is only a name.
    """
    return text if text.isascii() and text.isprintable() else STEERING.sub("\ufffd", text)
