"""Remembered: what functions have found in earlier calls, by which a later one computes nothing anew."""

import functools
import gc
from typing import Any

from pytest_quant.machine.libraries import is_installed

CACHED = type(functools.cache(len))  # of `functools.lru_cache`


class Unseen(Exception):
    """Of what a function remembers and does not show."""


def remembered(function: Any) -> list[Any]:
    """The arguments and results that a function under `functools.cache` or `lru_cache` holds, the oldest
    first: what it once read from a file or elsewhere counts when it is there no longer. Of a package's
    function none.

    Raises:
        Unseen: they cannot be had.
    """
    count = function.cache_info().currsize
    code = getattr(function.__wrapped__, "__code__", None)
    if not count or code is None or is_installed(code.co_filename):
        return []
    held = gc.get_referents(function)  # which are seen by nothing else
    if function.cache_parameters()["maxsize"] is None:
        caches = [each for each in held if type(each) is dict and each is not vars(function)]
        found = [part for cache in caches for item in cache.items() for part in item]
    else:  # of each call its arguments, its result, and the type of what holds both
        links = [place for place, each in enumerate(held) if _is_link(each)][:count]
        found = [part for place in links if place > 1 for part in held[place - 2 : place]]
    if len(found) != 2 * count:
        raise Unseen(f"what {function.__wrapped__.__qualname__} remembers of its calls")
    return found


def _is_link(value: Any) -> bool:
    return isinstance(value, type) and value.__name__ == "_lru_list_elem"
