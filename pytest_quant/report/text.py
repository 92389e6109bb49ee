"""Text: names and sentences that came from elsewhere, made fit to be shown."""

import re
import unicodedata

MOST_NAME = 60  # characters of a name where room is short
MOST_SENTENCE = 400
# They turn the order of what follows around, so that a text reads as what it is not.
TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
# A spreadsheet takes a cell that starts so for a formula (OWASP, "CSV Injection").
FORMULA = ("=", "+", "-", "@")


def printable(text: str) -> str:
    """One line without characters that steer a terminal or that no file can hold."""
    line = " ".join(text.split())
    if line.isascii() and line.isprintable():
        return line
    return "".join("\ufffd" if _is_unprintable(sign) else sign for sign in line)


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


def _is_unprintable(sign: str) -> bool:
    return unicodedata.category(sign) in ("Cc", "Cs") or sign in TURNING
