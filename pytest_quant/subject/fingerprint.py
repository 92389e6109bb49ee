"""Fingerprint: a digest of all that a value is made of, code and tensors included.

Two values with one fingerprint do the same, in this process and in another one with the same versions of
all installed packages. What cannot be told has none.
"""

import functools
import hashlib
import logging
import os
import sys
import types
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np

from pytest_quant.errors import in_brief
from pytest_quant.machine import torch_api
from pytest_quant.machine.libraries import file_of, is_installed
from pytest_quant.subject.named import (
    PLAIN,
    Perhaps,
    environment,
    is_foreign,
    named_by,
    parts_of_module,
)
from pytest_quant.subject.remembered import CACHED, remembered
from pytest_quant.subject.weights_digest import tensor_bytes

MAPPINGS = (dict, OrderedDict, defaultdict, types.MappingProxyType)
DEEPEST = 60  # levels of nesting
# Of modules: what running or training leaves behind, or PyTorch keeps for itself.
LEFT_BEHIND = ("_forward_hooks_always_called", "_is_full_backward_hook")
# Of a class: what every class has, or what follows from the rest.
OF_EVERY_CLASS = (
    "__dict__", "__weakref__", "__doc__", "__module__", "__annotations__", "__abstractmethods__",
    "_abc_impl", "__parameters__", "__orig_bases__", "__firstlineno__", "__static_attributes__",
    "__annotate__", "__annotations_cache__", "__annotate_func__",
)  # fmt: skip


class UnknownValue(Exception):
    """Of a value that cannot be told from another one; says which and why."""


def fingerprint(*values: Any) -> bytes:
    """A digest of values: types, attributes, tensors with their strides, and code.

    Functions are looked into with what they enclose, their defaults and the globals that they name;
    classes of the user's with their methods; of installed packages names alone, but for methods that are
    not the package's.

    Returns:
        16 bytes, BLAKE2b.

    Raises:
        UnknownValue: for a generator, a file, a lock; names the type.
    """
    return fingerprint_and_files(*values)[0]


def fingerprint_and_files(*values: Any) -> tuple[bytes, set[str]]:
    """The same, and the files of the user's whose code was looked into."""
    walk = _Walk()
    for value in values:
        walk.add(value, 0)
    return walk.digest.digest(), walk.files


def known_fingerprint(value: Any) -> bytes | None:
    """The same; None for what cannot be told."""
    try:
        return fingerprint(value)
    except UnknownValue:
        return None


class _Walk:
    """One walk through values, in which each object is looked into once."""

    def __init__(self) -> None:
        self.digest = hashlib.blake2b(digest_size=16)
        self.seen: dict[int, tuple[int, Any]] = {}
        self.files: set[str] = set()

    def say(self, text: str) -> None:
        self.digest.update(text.encode("utf-8", "surrogatepass") + b";")

    def add(self, value: Any, depth: int) -> None:
        if isinstance(value, Perhaps):
            try:
                self.add(value.value, depth)
            except UnknownValue:
                self.say("unknown")
            return
        if type(value) in PLAIN or isinstance(value, PurePath):
            self.say(f"{type(value).__qualname__}:{value!r}")
            return
        if id(value) in self.seen:  # a shared part, or a cycle
            self.say(f"again {self.seen[id(value)][0]}")
            return
        if depth > DEEPEST:
            raise UnknownValue(f"a value of more than {DEEPEST} levels")
        self.seen[id(value)] = (
            len(self.seen),
            value,
        )  # held, since a temporary's id is given again
        try:
            self._add_parts(value, depth)
        except UnknownValue:
            raise
        except Exception as error:  # of a user's property, or of an object that is half made
            raise UnknownValue(f"a {type(value).__qualname__} ({in_brief(error)})") from error

    def _add_parts(self, value: Any, depth: int) -> None:
        import torch

        self.say(f"<{type(value).__module__}.{type(value).__qualname__}")
        if isinstance(value, torch.Tensor):
            self._add_tensor(value, depth)
        elif isinstance(value, np.ndarray):
            self._add_array(value, depth)
        elif isinstance(value, set | frozenset):
            for each in sorted(fingerprint(part) for part in value):
                self.digest.update(each)
            for part in _added_to(value, (set, frozenset)):
                self.add(part, depth + 1)
        else:
            if isinstance(value, types.CodeType):
                self.files.add(value.co_filename)
            for part in parts_of(value):
                self.add(part, depth + 1)
        self.say(">")

    def _add_tensor(self, tensor: Any, depth: int) -> None:
        import torch

        plain = tensor.detach()
        if plain.device.type == "meta":
            raise UnknownValue("a tensor without values (device meta)")
        self.say(f"{plain.dtype}{list(plain.shape)}{tensor.requires_grad}{plain.layout}")
        if plain.is_quantized:
            for part in torch_api.quantized_parts(plain):
                self.add(part, depth + 1)
        elif plain.layout is torch.strided:
            self.say(f"{list(plain.stride())}")
            self.digest.update(tensor_bytes(plain))
        else:
            self.digest.update(tensor_bytes(plain))
        for name, held in vars(tensor).items():
            self.add((name, held), depth + 1)

    def _add_array(self, array: Any, depth: int) -> None:
        fields = array.dtype.descr if array.dtype.names else array.dtype.str
        self.say(f"{fields}{array.shape}{array.strides}")
        for part in _added_to(array, (np.ndarray,)):
            self.add(Perhaps(part), depth + 1)
        if array.dtype.hasobject:
            for part in array.ravel().tolist():
                self.add(part, depth + 1)
        else:
            self.digest.update(np.ascontiguousarray(array).tobytes())


def parts_of(value: Any) -> Iterable[Any]:
    """What a value is made of.

    Raises:
        UnknownValue: when that cannot be seen.
    """
    import torch

    if isinstance(value, Enum):
        told = [] if _is_of_package(type(value)) else [type(value), value._value_]
        return [value.name, *told]
    if isinstance(value, type):
        return _parts_of_class(value)
    if isinstance(value, types.FunctionType):
        return _parts_of_function(value)
    if isinstance(value, types.CodeType):
        return _parts_of_code(value)
    if isinstance(value, types.MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords, vars(value)]
    if isinstance(value, property):
        return [value.fget, value.fset, value.fdel]
    if isinstance(value, staticmethod | classmethod):
        return [value.__func__]
    if isinstance(value, functools.cached_property):
        return [value.func]
    if isinstance(value, _BUILT_IN):
        return [getattr(value, "__module__", None), value.__qualname__, *_bound(value)]
    if isinstance(value, CACHED):
        return [value.__wrapped__, vars(value), *remembered(value)]
    if isinstance(value, weakref.ref):  # as recurrent layers have of their weights
        return [value()]
    if torch_api.is_operator(value):
        return [str(value)]
    if isinstance(value, types.ModuleType):
        return parts_of_module(value)
    if value is os.environ:
        return environment()
    if isinstance(value, logging.Logger):  # of which nothing computes anything
        return [value.name]
    if isinstance(value, torch.Generator):  # whose state moves as it is used
        return [value.initial_seed(), str(value.device)]
    if isinstance(value, torch.dtype | torch.device | torch.layout | torch.memory_format):
        return [str(value)]
    if isinstance(value, torch.fx.GraphModule):
        own = {name: part for name, part in vars(value).items() if name not in _OF_GRAPHS}
        called = [node.target for node in value.graph.nodes if node.op == "call_function"]
        return [value.code, own, [each for each in called if is_foreign(each)]]
    if isinstance(value, torch.nn.Module):
        return _parts_of_module(value)
    if isinstance(value, Mapping) and type(value) in MAPPINGS:
        default = [value.default_factory] if isinstance(value, defaultdict) else []
        return [*default, *(part for item in value.items() for part in item)]
    if isinstance(value, list | tuple | range) and type(value).__module__ == "builtins":
        return list(value)
    return _parts_of_object(value)


_OF_GRAPHS = ("_graph", "_code", "_lineno_map", "_prologue_start", "_owning_module", "meta")
_BUILT_IN = (
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.MethodWrapperType,
)


def _bound(value: Any) -> list[Any]:
    """What a built-in method is bound to, where that is no module."""
    owner = getattr(value, "__self__", None)
    return [] if owner is None or isinstance(owner, types.ModuleType) else [owner]


def _parts_of_class(cls: type) -> list[Any]:
    """A class of the user's by its bases and all that it has; of a package's by its name, and by what was
    put into it since."""
    named: list[Any] = [cls.__module__, cls.__qualname__]
    own = [(k, v) for k, v in vars(cls).items() if k not in OF_EVERY_CLASS]
    bases = [*cls.__bases__, type(cls)]
    if _is_of_package(cls):
        # Private ones of theirs may count what was made so far, as of `torch.autograd.Function`.
        put = [(k, v) for k, v in own if is_foreign(v) or (type(v) in PLAIN and k[0] != "_")]
        return named + bases[:-1] + [part for item in sorted(put, key=_key) for part in item]
    return named + bases + [part for item in sorted(own, key=_key) for part in item]


def _key(item: tuple[str, Any]) -> str:
    return item[0]


def _is_of_package(cls: type) -> bool:
    module = sys.modules.get(cls.__module__)
    if module is types and not hasattr(types, cls.__name__):  # of `dataclasses.make_dataclass`
        return False
    if module is None or "<locals>" in cls.__qualname__:
        return module is not None and is_installed(file_of(module)) and not _is_made_here(cls)
    return is_installed(file_of(module))


def _is_made_here(cls: type) -> bool:
    """Whether a class that a function has made encloses something."""
    functions = (each for each in vars(cls).values() if isinstance(each, types.FunctionType))
    return any(each.__closure__ for each in functions)


def _parts_of_function(function: Any) -> list[Any]:
    code = function.__code__
    cells = [_cell(cell) for cell in function.__closure__ or ()]
    if hasattr(function, "dispatch") and hasattr(
        function, "registry"
    ):  # of `functools.singledispatch`
        return [function.__module__, function.__qualname__, function.registry]
    own = [function.__module__, function.__qualname__, function.__defaults__]
    own += [function.__kwdefaults__, cells, vars(function)]
    if is_installed(code.co_filename):
        return own
    return [*own, code, *named_by(function)]


def _cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _parts_of_code(code: Any) -> list[Any]:
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return [code.co_code, *counts, *names, code.co_consts, getattr(code, "co_exceptiontable", b"")]


def _parts_of_module(module: Any) -> list[Any]:
    """A layer: its class, and its attributes; of hooks what they call, not their numbers."""
    parts: list[Any] = [type(module)]
    for name, value in vars(module).items():
        if name in LEFT_BEHIND:
            continue
        is_hooks = "_hooks" in name and isinstance(value, Mapping)
        parts += [name, list(value.values()) if is_hooks else value]
    return parts


def _parts_of_object(value: Any) -> list[Any]:
    cls = type(value)
    if hasattr(cls, "__next__"):  # what is left in it is seen only by taking it
        raise UnknownValue(f"a {cls.__qualname__}")
    held = [item for each in cls.__mro__ for item in _held_in_slots(value, each)]
    parts: list[Any] = [cls, *held]
    if isinstance(value, dict):
        parts += list(value.items())
    elif isinstance(value, deque):
        parts += [value.maxlen, *value]
    elif isinstance(value, list | tuple):
        parts += list(value)
    elif isinstance(value, str | bytes | int | float | complex):
        parts += [value.__reduce_ex__(4)[1] if not isinstance(value, str) else str.__str__(value)]
    elif not hasattr(value, "__dict__") and not held:
        return [*parts, _reduced(value)]
    else:
        parts += _hidden_of(value)
    items = getattr(value, "__dict__", {}).items()
    left = LEFT_BEHIND if not _is_loader(value) else ("_iterator",)  # of workers that go on
    return [*parts, *(item for item in items if item[0] not in left)]


def _is_loader(value: Any) -> bool:
    from torch.utils.data import DataLoader

    return isinstance(value, DataLoader)


def _held_in_slots(value: Any, cls: type) -> Iterator[tuple[str, Any]]:
    names = vars(cls).get("__slots__", ())
    for name in [names] if isinstance(names, str) else list(names):
        is_private = name.startswith("__") and not name.endswith("__")
        real = f"_{cls.__name__.lstrip('_')}{name}" if is_private else name
        if name not in ("__dict__", "__weakref__") and hasattr(value, real):
            yield name, getattr(value, real)


def _hidden_of(value: Any) -> list[Any]:
    """What an object keeps beside its attributes and says only to pickle, as `random.Random` does."""
    own = [each for each in type(value).__mro__ if each is not object]
    if not any(name in vars(each) for each in own for name in ("__reduce__", "__reduce_ex__")):
        return []
    try:
        reduced = value.__reduce_ex__(4)
    except Exception:
        return []
    return [Perhaps(reduced[:3] if isinstance(reduced, tuple) else reduced)]


def _added_to(value: Any, kinds: tuple[type, ...]) -> list[Any]:
    """What a subclass of a container has beside what is contained."""
    if type(value) in kinds:
        return []
    return [type(value), *getattr(value, "__dict__", {}).items()]


def _reduced(value: Any) -> Any:
    """What pickle would write of an object that shows no attributes."""
    try:
        return value.__reduce_ex__(4)
    except Exception as error:
        raise UnknownValue(f"a {type(value).__qualname__}") from error
