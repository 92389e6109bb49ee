"""Patches: functions that somebody has put into PyTorch, as a fixture does by `monkeypatch`."""

import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_quant.machine import torch_api
from pytest_quant.machine.libraries import is_installed
from pytest_quant.subject.fingerprint import fingerprint
from pytest_quant.subject.named import Perhaps

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
        if name.partition(".")[0] not in PACKAGES or name.startswith(torch_api.COMPILING):
            continue
        if not isinstance(module, types.ModuleType):
            continue
        yield from _foreign_in(name, vars(module))
        for part in list(vars(module).values()):
            if issubclass(type(part), type) and part.__module__ == name:
                yield from _foreign_in(f"{name}.{part.__qualname__}", vars(part))


def _foreign_in(owner: str, scope: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, part in list(scope.items()):
        if type(part) in FUNCTIONS:
            function = part if type(part) is types.FunctionType else part.__func__
            code = getattr(function, "__code__", None)
            # Dataclasses and named tuples make theirs from text, which has no file.
            if (
                code is not None
                and code.co_filename[:1] != "<"
                and not is_installed(code.co_filename)
            ):
                yield f"{owner}.{name}", part
