"""Patches: what somebody has put into PyTorch, as a fixture does by `monkeypatch`."""

import functools
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_quant.machine import torch_api
from pytest_quant.machine.libraries import is_installed
from pytest_quant.subject.fingerprint import fingerprint
from pytest_quant.subject.named import Perhaps, is_of_package

# Not asked by `isinstance`, to which some objects of PyTorch answer with a warning.
FUNCTIONS = (types.FunctionType, staticmethod, classmethod)
PACKAGES = ("torch", "torchao")  # what builds and runs all models
GIVEN = (functools.partial, functools.partialmethod, types.MethodType)  # a function with arguments
NAMED = (types.FunctionType, types.BuiltinFunctionType, type)


def patches() -> bytes:
    """A digest of the functions in PyTorch's modules and classes that no package has brought, and of which
    of PyTorch's own stands under which name where models call them."""
    found = sorted(_found(), key=lambda each: each[0])
    return fingerprint([(name, Perhaps(part)) for name, part in found], [*_standing()])


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


def _standing() -> Iterator[Any]:
    """By name, what models call: of PyTorch's functions which it is, of what was put there all of it."""
    import torch

    modules: list[Any] = [torch, torch.nn.functional, torch.Tensor]
    classes = [part for part in vars(torch.nn).values() if type(part) is type]
    for owner in (*modules, *classes):
        yield owner.__name__
        for name, part in list(vars(owner).items()):
            if name.startswith("__"):  # some of which compiling replaces
                continue
            if type(part) in NAMED:
                yield f"{name} {part.__module__} {part.__qualname__}"
            elif type(part) in GIVEN or not is_of_package(type(part)):
                yield from (name, Perhaps(part))
