"""Named: what code refers to by name: globals, parts of modules, variables of the environment.

A name that is made while the code runs cannot be told; what it may mean is then all there is.
"""

import builtins
import dis
import functools
import importlib.util
import os
import re
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from pytest_quant.machine.libraries import file_of, is_installed

PLAIN = (str, bytes, int, float, complex, bool, type(None), type(Ellipsis))
ENVIRONMENT = ("environ", "environb", "getenv", "getenvb")
GLOBAL = ("LOAD_GLOBAL", "LOAD_NAME")
# Of bytecode, what stands between a callable and its first argument.
BETWEEN = ("PUSH_NULL", "PRECALL", "CACHE", "EXTENDED_ARG", "COPY", "NOT_TAKEN")
# Of the environment, what differs from one shell, test or job to the next.
OF_SESSIONS = (
    "PYTEST_", "SHLVL", "PWD", "OLDPWD", "COLUMNS", "LINES", "TERM", "SSH_", "XDG_", "DBUS_",
    "WINDOWID", "HOSTNAME", "TMPDIR", "GITHUB_", "RUNNER_", "CI_", "BUILD_", "JOB_",
)  # fmt: skip


class Perhaps(NamedTuple):
    """A value that code may mean; where it cannot be told, it is left out."""

    value: Any


def is_foreign(part: Any) -> bool:
    """Whether it is a function that no package has brought."""
    function = part.__func__ if isinstance(part, staticmethod | classmethod) else part
    return isinstance(function, types.FunctionType) and not is_installed(
        function.__code__.co_filename
    )


def named_by(function: Any) -> Iterator[Any]:
    """The globals that a function's code names, and what of modules and of the environment."""
    scope, steps = function.__globals__, list(_steps(function.__code__))
    names, texts = _names(function.__code__), _texts(function.__code__)
    for first, second, third in _each_three(steps):
        called = first[1] if first[0] in GLOBAL else None
        key = third[1] if third[0] == "LOAD_CONST" and isinstance(third[1], str) else None
        if called in ("eval", "exec"):
            names |= {word for text in texts for word in re.findall(r"\w+", text)}
        elif called == "globals" or (called in ("getattr", "vars") and second[0] in GLOBAL):
            whose = scope if called == "globals" else scope.get(second[1])
            if key is not None:
                names.add(key)
            elif isinstance(whose, types.ModuleType):
                yield from _whole(vars(whose)) if _is_own(whose) else ()
            elif whose is scope:
                yield from _whole(scope)
        elif second[1] == "__dict__" and isinstance(scope.get(called), types.ModuleType):
            names |= {key} if key is not None else set()
            if key is None and _is_own(scope[called]):
                yield from _whole(vars(scope[called]))
    for name in sorted(names & scope.keys()):
        value = scope[name]
        yield name
        if isinstance(value, types.ModuleType):
            yield value.__name__
            yield from _used_of(value, names, 0)
        else:
            yield value
    for name in sorted((names - scope.keys()) & vars(builtins).keys()):
        part = vars(builtins)[name]  # which somebody may have put there
        if type(part) in PLAIN or is_foreign(part):
            yield name
            yield part
    for module in _imported(steps, texts, names, scope):
        yield module.__name__
        yield from _used_of(module, names, 0)
    yield from _of_environment(steps, names, scope)


def parts_of_module(module: types.ModuleType) -> list[Any]:
    """A module that something holds: of the user's all that is in it."""
    return [module.__name__, *(_whole(vars(module)) if _is_own(module) else ())]


def environment(names: Iterable[str] | None = None) -> list[tuple[str, str]]:
    """Variables of the environment that are set, of these names; else all that are not of a session."""
    if names is not None:
        return [(name, os.environ[name]) for name in sorted(names) if name in os.environ]
    return sorted(
        item
        for item in os.environ.items()
        if item[0] != "_" and not item[0].startswith(OF_SESSIONS)
    )


def _is_own(module: types.ModuleType) -> bool:
    return not is_installed(file_of(module))


def _whole(scope: Mapping[str, Any]) -> Iterator[Any]:
    for name in sorted(scope):
        if not (name.startswith("__") or isinstance(scope[name], types.ModuleType)):
            yield name
            yield Perhaps(scope[name])


def _used_of(module: types.ModuleType, names: set[str], depth: int) -> Iterator[Any]:
    """Of a module what code names; of an installed one what is a plain value or a class, or was put there
    from outside."""
    is_own = _is_own(module)
    for name in sorted(names & vars(module).keys()):
        part = vars(module)[name]
        if isinstance(part, types.ModuleType):
            if depth < 6:
                yield from _used_of(part, names, depth + 1)
        elif is_own or _may_be_put_there(part):
            yield name
            yield part
        elif isinstance(part, types.FunctionType | types.BuiltinFunctionType):
            yield name
            yield f"{part.__module__}.{part.__qualname__}"  # which may be another one of its own


def _may_be_put_there(part: Any) -> bool:
    is_simple = type(part) in PLAIN or isinstance(part, type | functools.partial)
    return is_simple or is_foreign(part) or not is_of_package(type(part))


def is_of_package(cls: type) -> bool:
    """Whether Python or an installed package has brought a class."""
    module = sys.modules.get(cls.__module__)
    return module is not None and is_installed(file_of(module))


def _imported(
    steps: list[tuple[str, Any]], texts: set[str], names: set[str], scope: Mapping[str, Any]
) -> list[types.ModuleType]:
    """The modules that code imports where it runs, as far as they are loaded."""
    found = set[str]()
    for number, (operation, name) in enumerate(steps):
        if operation == "IMPORT_NAME":
            level = steps[number - 2][1] if number > 1 else 0
            found.add(_absolute(name, level, scope))
    if names & {"modules", "import_module", "__import__"}:
        found |= texts
    modules = [sys.modules.get(name) for name in sorted(found)]
    return [module for module in modules if isinstance(module, types.ModuleType)]


def _absolute(name: str, level: Any, scope: Mapping[str, Any]) -> str:
    if not isinstance(level, int) or level < 1:
        return name
    try:
        return importlib.util.resolve_name("." * level + name, scope.get("__package__"))
    except (ImportError, TypeError, ValueError):
        return name


def _of_environment(
    steps: list[tuple[str, Any]], names: set[str], scope: Mapping[str, Any]
) -> Iterator[Any]:
    """The variables whose names stand beside each use of the environment; else all."""
    uses = {*ENVIRONMENT, *(name for name in names if scope.get(name) is os.getenv)}
    if not names & uses:
        return
    found = set[str]()
    for number, (_, name) in enumerate(steps):
        if name not in uses or steps[number][0].startswith(("IMPORT", "STORE")):
            continue
        before, after = steps[max(number - 3, 0) : number], steps[number + 1 : number + 3]
        if after and after[0][1] in ("get", "pop", "setdefault"):
            after = after[1:]
        elif after and after[0][0] == "CONTAINS_OP":
            after = [step for step in reversed(before) if step[0] == "LOAD_CONST"]
        if not (after and after[0][0] == "LOAD_CONST" and isinstance(after[0][1], str)):
            yield environment()
            return
        found.add(after[0][1])
    yield environment(found)


def _each_three(steps: list[tuple[str, Any]]) -> Iterator[tuple[tuple[str, Any], ...]]:
    none = ("", None)
    padded = [*steps, none, none]
    return zip(padded, padded[1:], padded[2:], strict=False)


def _steps(code: Any) -> Iterator[tuple[str, Any]]:
    """What code does, as operations with what they are about, in order; that of inner code after it."""
    for each in _codes(code):
        for step in dis.get_instructions(each):
            if step.opname not in BETWEEN:
                yield step.opname, step.argval


def _names(code: Any) -> set[str]:
    return {name for each in _codes(code) for name in each.co_names}


def _texts(code: Any) -> set[str]:
    return {part for each in _codes(code) for part in each.co_consts if isinstance(part, str)}


def _codes(code: Any) -> Iterator[Any]:
    """Code, then that of the functions and comprehensions in it."""
    yield code
    for part in code.co_consts:
        if isinstance(part, types.CodeType):
            yield from _codes(part)
