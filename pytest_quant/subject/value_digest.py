"""Value digest: whether two values that a user gives are the same, though they are two objects."""

import functools
import hashlib
import types
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np

from pytest_quant.subject.weights_digest import tensor_bytes

PLAIN = (str, bytes, int, float, complex, bool, type(None), Enum, PurePath)
DEEPEST = 40  # levels of nesting
# Of modules: what running or training leaves behind, or PyTorch keeps for itself.
LEFT_BEHIND = ("_backward_hooks", "_forward_hooks_always_called", "_is_full_backward_hook")


class _Unknown(Exception):
    """A value that cannot be told from another one."""


def value_digest(value: Any) -> bytes | None:
    """A digest of all that a value is made of: BLAKE2b of types, attributes, tensors and code.

    Two values with one digest are the same for every use within one run. Objects are looked into by
    their attributes, functions by their code, defaults and what they enclose.

    Returns:
        16 bytes; None for what cannot be told, such as a generator, a file or a lock.
    """
    digest = hashlib.blake2b(digest_size=16)
    try:
        _add(digest, value, 0, {})
    except _Unknown:
        return None
    return digest.digest()


def _add(digest: Any, value: Any, depth: int, seen: dict[int, tuple[int, Any]]) -> None:
    import torch

    if isinstance(value, PLAIN):
        digest.update(f"{type(value).__qualname__}:{value!r};".encode())
        return
    if isinstance(value, type):
        digest.update(f"class {value.__module__}.{value.__qualname__};".encode())
        return
    if id(value) in seen:  # a shared part, or a cycle
        digest.update(f"again {seen[id(value)][0]};".encode())
        return
    if depth > DEEPEST:
        raise _Unknown
    seen[id(value)] = (len(seen), value)  # held, since a temporary's id is given again
    digest.update(f"<{type(value).__module__}.{type(value).__qualname__}".encode())
    if isinstance(value, torch.Tensor):
        _add_tensor(digest, value)
    elif isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise _Unknown
        digest.update(
            f"{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).tobytes()
        )
    elif isinstance(value, torch.Generator):  # whose state moves as it is used
        digest.update(f"{value.initial_seed()}".encode())
    else:
        for part in _parts(value):
            _add(digest, part, depth + 1, seen)
    digest.update(b">")


def _parts(value: Any) -> Iterable[Any]:
    """What a value is made of.

    Raises:
        _Unknown: when that cannot be seen.
    """
    if isinstance(value, Mapping) and type(value).__module__ in ("builtins", "collections"):
        return [part for item in value.items() for part in item]
    if type(value) in (list, tuple, range):
        return list(value)
    if type(value) in (set, frozenset):
        return sorted(map(repr, value)) if all(isinstance(v, PLAIN) for v in value) else _unknown()
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, types.MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, types.FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        return [value.__module__, value.__qualname__, value.__code__, value.__defaults__, cells]
    if isinstance(value, types.CodeType):
        return [value.co_code, value.co_names, value.co_varnames, value.co_consts]
    if isinstance(value, types.BuiltinFunctionType):
        return [value.__qualname__]
    if isinstance(value, types.ModuleType):
        return [value.__name__]
    own = [getattr(value, name) for name in _slots(value) if hasattr(value, name)]
    if isinstance(value, list | tuple | dict):  # of a class of its own
        own += list(value.items()) if isinstance(value, dict) else list(value)
    elif not hasattr(value, "__dict__") and not own:
        _unknown()
    attributes = dict(getattr(value, "__dict__", {}))
    return [*own, *(item for item in attributes.items() if item[0] not in LEFT_BEHIND)]


def _slots(value: Any) -> list[str]:
    found = [getattr(cls, "__slots__", ()) for cls in type(value).__mro__]
    return [name for names in found for name in ((names,) if isinstance(names, str) else names)]


def _add_tensor(digest: Any, tensor: Any) -> None:
    import torch

    plain = tensor.detach()
    if plain.is_quantized or plain.layout is not torch.strided or plain.device.type == "meta":
        raise _Unknown
    digest.update(f"{plain.dtype}{list(plain.shape)}{plain.requires_grad}".encode())
    digest.update(tensor_bytes(plain))


def _unknown() -> Any:
    raise _Unknown
