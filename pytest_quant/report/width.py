"""Width: how many columns a terminal has, and texts that are made to fit into them."""

import os
import re
import sys
import textwrap
import unicodedata
from collections.abc import Iterable

from pytest_quant.report.text import JOINTS, printable

RULE = re.compile("-+(  +-+)+")  # below the heads of a table
NARROWEST = 40  # columns that are written for, also where there are fewer


def terminal_columns() -> int | None:
    """Those of the terminal that is written to, or that COLUMNS says; None for a file or pipe."""
    asked = os.environ.get("COLUMNS", "")
    if asked.isdigit() and int(asked):
        return max(NARROWEST, int(asked))
    try:
        return max(NARROWEST, os.get_terminal_size(sys.stdout.fileno()).columns)
    except (AttributeError, OSError, ValueError):
        return None


def width_of(text: str) -> int:
    """Columns that a text takes, of its longest line: some letters take two, some none."""
    return max((sum(map(_columns, line)) for line in text.splitlines()), default=0)


def cut_in_the_middle(text: str, most: int) -> str:
    """A name of at most this many columns, of which both ends are left."""
    line = printable(text)
    if width_of(line) <= most:
        return line
    ends = max(0, most - 3)
    head, tail = _first(line, ends - ends // 2), _first(line[::-1], ends // 2)[::-1]
    return f"{head}...{tail}"


def folded(text: str, width: int, indent: str = "") -> str:
    """The same words on lines of at most this many columns, of which the later ones are indented; a word
    that is longer is broken."""
    lines = [""]
    for word in text.split():
        is_begun = lines[-1].strip()
        if is_begun and width_of(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
            continue
        if is_begun:
            lines.append(indent)
        rest = word
        while width_of(lines[-1] + rest) > width:
            start = _at_a_joint(_first(rest, width - width_of(lines[-1])), rest) or rest[:1]
            lines[-1], rest = lines[-1] + start, rest[len(start) :]
            lines.append(indent)
        lines[-1] += rest
    return "\n".join(line for line in lines if line.strip())


def hung(table: str, head: str, columns: int | None) -> list[str]:
    """The lines of a table whose last column holds words: these are folded below each other.

    Args:
        table: as text, with the heads in its first line.
        head: of the last column.
        columns: of a line; None for any number.
    """
    lines = table.splitlines()
    start = lines[0].find(head) if lines else 0
    return lines if columns is None or start <= 0 else _hung(lines, start, len(head), columns)


def fitted_text(text: str, columns: int | None) -> str:
    """Sentences and tables of words in lines of at most this many columns; code keeps its lines.

    Args:
        text: lines of sentences, tables as tabulate makes them, and at its end code, which starts with a
            comment.
        columns: of a line; None for any number.
    """
    lines = text.splitlines()
    if columns is None:
        return text
    found: list[str] = []
    while lines and not lines[0].startswith("# "):
        if len(lines) > 1 and RULE.fullmatch(lines[1]):
            end = next((n for n, line in enumerate(lines) if "  " not in line), len(lines))
            start = lines[1].rindex("  ") + 2
            found += _hung(lines[:end], start, len(lines[0]) - start, columns)
            lines = lines[end:]
        else:
            line = lines.pop(0)
            is_code = line.startswith("Recipe(")
            found += [line] if is_code else folded(line, columns, "  ").splitlines() or [""]
    return "\n".join([*found, *lines])


def _hung(lines: list[str], start: int, least: int, columns: int) -> list[str]:
    room, found = columns - start, list[str]()
    if room < least:
        return lines
    for line in lines:
        words = folded(line[start:], room) if set(line) - set("- ") else line[start:][:room]
        first, *others = words.splitlines() or [""]
        found += [line[:start] + first, *(" " * start + each for each in others)]
    return found


def paragraph(
    sentences: Iterable[str], columns: int, most: int | None = None, indent: str = "  "
) -> list[str]:
    """Sentences as lines of text of at most this many columns.

    Args:
        sentences: in their order.
        columns: of a line.
        most: lines; what is cut ends in dots. None for all.
        indent: of the first line; that of the others is two blanks.
    """
    return textwrap.wrap(
        " ".join(sentences),
        max(NARROWEST, columns),
        initial_indent=indent,
        subsequent_indent="  ",
        max_lines=most,
        placeholder=" ...",
        break_on_hyphens=False,
    )


def _at_a_joint(start: str, word: str) -> str:
    """The beginning of a word up to the last place that joins its parts; all that fits where none does."""
    places = [found.start() for found in JOINTS.finditer(word) if 0 < found.start() <= len(start)]
    return word[: places[-1]] if places else start


def _first(text: str, columns: int) -> str:
    taken = 0
    for place, letter in enumerate(text):
        taken += _columns(letter)
        if taken > columns:
            return text[:place]
    return text


def _columns(letter: str) -> int:
    if letter.isascii():
        return 1
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1
