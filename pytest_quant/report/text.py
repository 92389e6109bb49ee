"""Text: names and sentences that came from elsewhere, made fit to be shown."""

import re

from pytest_quant.errors import terminal_safe

MOST_NAME = 60  # characters of a name where room is short
MOST_SENTENCE = 400
# A spreadsheet takes a cell that starts so for a formula (OWASP, "CSV Injection").
FORMULA = ("=", "+", "-", "@")
# Places at which a long name may go on in the next line: behind what joins its words.
JOINTS = re.compile(r"(?<=[_\-./:,(=\[])(?=\w)")


def printable(text: str) -> str:
    """One line without characters that steer a terminal or that no file can hold."""
    return terminal_safe(" ".join(text.split()))


def clipped(text: str, most: int = MOST_NAME) -> str:
    """One printable line of at most this many characters."""
    line = printable(text[: 4 * most] + "..." if len(text) > 4 * most else text)
    return line if len(line) <= most else line[: most - 3].rstrip() + "..."


def in_markdown(text: str, most: int = MOST_SENTENCE) -> str:
    """A text that stays text in Markdown: no HTML, table bars, formulas, or line breaks."""
    line = clipped(text, most).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", line).replace("$", "&#36;")


def in_spreadsheet(text: str) -> str:
    """A cell that a spreadsheet shows and does not compute: a quote stands before a formula."""
    line = printable(text)
    return f"'{line}" if line.startswith(FORMULA) else line
