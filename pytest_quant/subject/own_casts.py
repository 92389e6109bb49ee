"""Own casts: where the code of a model in half precision casts to it, our copy casts to float32."""

import dis
import types
from collections.abc import Iterator
from typing import Any

# Of methods of tensors, and of types of ``torch``.
NAMES = {"half": "float", "bfloat16": "float", "float16": "float32"}


def follow_float32(module: Any) -> bool:
    """Let the methods of a model's own classes cast to float32 where they say half precision by name.

    ``x.half()``, ``x.bfloat16()``, ``x.to(torch.float16)`` and attributes that hold such a type; not what
    is named ``self.half``, nor what functions outside of its classes do.

    Args:
        module: our own copy, changed in place: modules get a subclass of their own class.

    Returns:
        Whether anything was to be changed.
    """
    import torch

    low, kinds, changed = (torch.float16, torch.bfloat16), dict[type, type](), False
    for child in module.modules():
        for name, value in vars(child).items():
            if isinstance(value, torch.dtype) and value in low:
                vars(child)[name], changed = torch.float32, True
        kind = type(child)
        if _is_pytorchs(kind):
            continue
        if kind not in kinds:
            kinds[kind] = _following(kind)
        if kinds[kind] is not kind:
            child.__class__, changed = kinds[kind], True
    return changed


def _following(kind: type) -> type:
    """The class, or one like it whose methods, and those of the classes that it is made of, cast to
    float32."""
    bases, changed = list[type](), False
    for base in kind.__mro__:
        space = dict[str, Any]()
        for name, value in vars(base).items() if not _is_pytorchs(base) else ():
            if isinstance(value, types.FunctionType):
                code = _renamed(value.__code__)
                if code is not value.__code__:
                    space[name] = _with_code(value, code)
        if space:
            # behind the class itself, so that super() finds it
            bases.append(type(base.__name__, (base,), {"__module__": base.__module__, **space}))
            changed = True
        elif base is kind:
            bases.append(kind)
    if not changed:
        return kind
    return type(kind.__name__, tuple(bases), {"__module__": kind.__module__})


def _is_pytorchs(kind: type) -> bool:
    return kind.__module__.split(".")[0] in ("torch", "builtins")


def _with_code(function: types.FunctionType, code: types.CodeType) -> types.FunctionType:
    made = types.FunctionType(
        code,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    made.__kwdefaults__ = function.__kwdefaults__
    return made


def _renamed(code: types.CodeType) -> types.CodeType:
    """The code with the names of half precision changed, in functions inside it too."""
    constants = tuple(
        _renamed(each) if isinstance(each, types.CodeType) else each for each in code.co_consts
    )
    found = set(_casts(code)) - set(_other_uses(code))
    if not found and constants == code.co_consts:
        return code
    names = tuple(NAMES[name] if name in found else name for name in code.co_names)
    return code.replace(co_names=names, co_consts=constants)


def _casts(code: types.CodeType) -> Iterator[str]:
    return (name for name, is_cast in _uses(code) if is_cast)


def _other_uses(code: types.CodeType) -> Iterator[str]:
    return (name for name, is_cast in _uses(code) if not is_cast)


def _uses(code: types.CodeType) -> Iterator[tuple[str, bool]]:
    """Each use of one of the names, and whether it is a call of a method or a type of ``torch``."""
    before = None
    for each in dis.get_instructions(code):
        if each.argval in NAMES and each.opname not in ("LOAD_CONST", "LOAD_FAST"):
            calls = each.opname == "LOAD_METHOD" or "NULL|self" in each.argrepr
            of_torch = (
                before is not None
                and before.argval == "torch"
                and before.opname in ("LOAD_GLOBAL", "LOAD_DEREF", "LOAD_NAME")
            )
            yield each.argval, each.opname in ("LOAD_METHOD", "LOAD_ATTR") and (calls or of_torch)
        before = each
