"""Schema: a document held against report.schema.json, as far as a reader must before it trusts one.

The words of JSON Schema that the file uses, and no others, are understood here; programs that check
more have their own library for it.
"""

import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

from pytest_quant.baseline.version import later_version

WORDS = {
    "null": "null",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "string": "a text",
    "array": "a list",
    "object": "an object",
}


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of report.json."""
    text = files("pytest_quant.report").joinpath("report.schema.json").read_text(encoding="utf-8")
    read: dict[str, Any] = json.loads(text)
    return read


def checked_report(document: Any) -> dict[str, Any]:
    """The document, if it is a report that can be read.

    Args:
        document: what a report.json holds.

    Raises:
        ValueError: else; says what it is, or where it is wrong.
    """
    if not isinstance(document, dict):
        raise ValueError(f"no report: expected an object, not {_kind(document)}")
    known = ("version", "environment", "rows", "verdicts")
    if missing := [name for name in known if name not in document]:
        raise ValueError(f"no report of pytest-quant: {', '.join(missing)} is missing")
    if why := later_version(document):
        raise ValueError(f"the report {why}")
    for fault in faults(document, schema(), "report"):
        raise ValueError(f"the report is damaged: {fault}")
    return document


def faults(value: Any, form: dict[str, Any], place: str) -> Iterator[str]:
    """Each way in which a value is not of this form: place, what is there, what is expected."""
    if not form:
        return
    if reference := form.get("$ref"):
        form = schema()["$defs"][reference.removeprefix("#/$defs/")]
    kinds = form.get("type", list(WORDS))
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if not any(_is(value, kind) for kind in kinds):
        expected = " or ".join(WORDS[kind] for kind in kinds)
        yield f"{place} is {_kind(value)}, not {expected}"
    elif "enum" in form and value not in form["enum"]:
        allowed = ", ".join(str(item) for item in form["enum"])
        yield f"{place} is {str(value)[:40]!r}; allowed: {allowed}"
    elif "minimum" in form and value < form["minimum"]:
        yield f"{place} is {value}; the least is {form['minimum']}"
    elif isinstance(value, dict):
        yield from (
            f"{place}.{name} is missing" for name in form.get("required", ()) if name not in value
        )
        others = form.get("additionalProperties", {})
        for name, part in value.items():
            yield from faults(part, form.get("properties", {}).get(name, others), f"{place}.{name}")
    elif isinstance(value, list) and "items" in form:
        for index, item in enumerate(value):
            yield from faults(item, form["items"], f"{place}[{index}]")


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    types: dict[str, Any] = {
        "null": type(None), "number": (int, float), "string": str, "array": (list, tuple), "object": dict,
    }  # fmt: skip
    return isinstance(value, types.get(kind, ()))


def _kind(value: Any) -> str:
    return next(word for kind, word in WORDS.items() if _is(value, kind))
