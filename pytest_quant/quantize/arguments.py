"""Arguments: a call's values by the names that forward gives them."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from inspect import Parameter
from typing import Any


def arguments_by_name(
    signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """The values of a call, in the order of forward's parameters.

    What ``*inputs`` takes is named ``inputs_0``, ``inputs_1``; what ``**options`` takes has its own name,
    and is sorted by it, since a caller may give it in any order.

    Args:
        signature: of forward, without self.

    Raises:
        TypeError: when the call does not fit the signature.
    """
    return {name: value for name, value, _ in _bound(signature, args, kwargs)}


def passed_by_place(
    signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> list[str]:
    """The names of `arguments_by_name` that forward does not take by name, and all before them."""
    bound = list(_bound(signature, args, kwargs))
    unnamed = (Parameter.POSITIONAL_ONLY, Parameter.VAR_POSITIONAL)
    count = max(
        (place for place, (_, _, kind) in enumerate(bound, 1) if kind in unnamed), default=0
    )
    return [name for name, _, _ in bound[:count]]


def _bound(
    signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    for name, value in signature.bind(*args, **kwargs).arguments.items():
        kind = signature.parameters[name].kind
        if kind is Parameter.VAR_POSITIONAL:
            yield from ((f"{name}_{place}", each, kind) for place, each in enumerate(value))
        elif kind is Parameter.VAR_KEYWORD:
            yield from ((own, value[own], kind) for own in sorted(value))
        else:
            yield name, value, kind
