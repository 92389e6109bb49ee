"""JSON text: a document from elsewhere as plain values, if these can be worked with."""

import json
import math
from pathlib import Path
from typing import Any, NoReturn

DEEPEST = 64  # levels; a report has about ten, and what is made of it is made by recursion
LARGEST = 2**63  # whole numbers lie below it, so that they are numbers in every program
MOST = 512 * 1024 * 1024  # bytes; a report of 5,000 models has a tenth of it, a device has no end


def read_json(path: Path) -> Any:
    """The document in a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON, or nothing to work with; says why, as a clause.
    """
    with path.open("rb") as file:
        data = file.read(MOST + 1)
    if len(data) > MOST:
        raise ValueError(f"it is larger than {MOST // 1024**2} MiB")
    return parsed(data.decode("utf-8"))


def parsed(text: str) -> Any:
    """The document that a text is: objects, lists, texts, finite numbers.

    Raises:
        ValueError: it is no JSON, is nested deeply, or holds numbers that are none.
    """
    try:
        document = json.loads(
            text, parse_int=_whole, parse_float=_finite, parse_constant=_no_number
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if _is_deeper(document, DEEPEST):
        raise ValueError(f"it is nested more than {DEEPEST} levels deep")
    return document


def _whole(digits: str) -> int:
    if len(digits) > 20 or not -LARGEST < (number := int(digits)) < LARGEST:
        raise ValueError(f"it holds a whole number of {len(digits.lstrip('-'))} digits")
    return number


def _finite(digits: str) -> float:
    if not math.isfinite(number := float(digits)):
        raise ValueError(f"it holds the number {digits[:40]}, which is too large")
    return number


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, which JSON has not")


def _is_deeper(document: Any, levels: int) -> bool:
    """Whether anything stands below so many levels; without recursion."""
    layer = [document]
    for _ in range(levels):
        layer = [
            part
            for each in layer
            if isinstance(each, dict | list)
            for part in (each.values() if isinstance(each, dict) else each)
        ]
        if not layer:
            return False
    return True
