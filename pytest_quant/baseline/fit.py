"""Fit: whether a record that was read from a file is of the types that its fields say."""

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints


def refuse_unfit(record: Any) -> None:
    """Check every field of a dataclass, and of those that it holds.

    Raises:
        TypeError: names the field, and what stands there.
    """
    kind: Any = type(record)
    hints = _hints(kind)
    for part in fields(record):
        value = getattr(record, part.name)
        if not _fits(value, hints[part.name]):
            raise TypeError(f"{value!r:.40} stands where {part.name} belongs")


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _fits(value: Any, hint: Any) -> bool:
    origin, parts = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(each, parts[0]) for each in value)
    if origin is not None:  # a mapping
        return isinstance(value, Mapping) and all(
            _fits(name, parts[0]) and _fits(each, parts[1]) for name, each in value.items()
        )
    if isinstance(value, bool):
        return hint is bool
    if hint is float:
        return isinstance(value, float | int)
    if not isinstance(value, hint):
        return False
    if is_dataclass(value):
        refuse_unfit(value)
    return True
