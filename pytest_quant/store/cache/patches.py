"""Patches: functions that somebody has put into PyTorch, as a fixture does by `monkeypatch`."""

import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_quant.subject.fingerprint import fingerprint
from pytest_quant.subject.named import Perhaps, is_foreign

# Not asked by `isinstance`, to which some objects of PyTorch answer with a warning.
FUNCTIONS = (types.FunctionType, staticmethod, classmethod)
PACKAGES = ("torch", "torchao")  # what builds and runs all models


def patches() -> bytes:
    """A digest of the functions in PyTorch's modules and classes that no package has brought; empty
    without any."""
    found = sorted(_found(), key=lambda each: each[0])
    return fingerprint([(name, Perhaps(part)) for name, part in found]) if found else b""


def _found() -> Iterator[tuple[str, Any]]:
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] not in PACKAGES or not isinstance(module, types.ModuleType):
            continue
        yield from _foreign_in(name, vars(module))
        for part in list(vars(module).values()):
            if issubclass(type(part), type) and part.__module__ == name:
                yield from _foreign_in(f"{name}.{part.__qualname__}", vars(part))


def _foreign_in(owner: str, scope: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, part in list(scope.items()):
        if type(part) in FUNCTIONS and is_foreign(part) and not _is_generated(part):
            yield f"{owner}.{name}", part


def _is_generated(part: Any) -> bool:
    """Of dataclasses and named tuples, which make theirs from text."""
    function = part.__func__ if isinstance(part, staticmethod | classmethod) else part
    return bool(function.__code__.co_filename.startswith("<"))
