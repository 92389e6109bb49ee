"""Matching: which of a saved file's rows is the one of a variant of now."""

import re
from collections.abc import Iterable

from pytest_quant.variant.key import BY_VALUE, RowKey

DIGEST = re.compile(f"{BY_VALUE}[0-9a-f]*")


def matched(stored: Iterable[RowKey], now: Iterable[RowKey], version: int) -> dict[RowKey, RowKey]:
    """The stored key of each variant that has one; each stored key is taken once at most.

    Equal keys match. What is left matches where only one on each side can be meant: by place, model and
    variant, but for digests of values (see `key_of`), which another checkpoint changes; in a file of
    version 1, which holds no ids of parameters, without these too.
    """
    there, here = list(dict.fromkeys(stored)), list(dict.fromkeys(now))
    equal = {*there} & {*here}
    left, others = (_by_loose_key(keys, equal, version) for keys in (here, there))
    pairs = ((keys, others.get(loose, [])) for loose, keys in left.items())
    alone = {keys[0]: same[0] for keys, same in pairs if len(keys) == len(same) == 1}
    return {key: key for key in here if key in equal} | alone


def _by_loose_key(
    keys: Iterable[RowKey], equal: set[RowKey], version: int
) -> dict[RowKey, list[RowKey]]:
    found: dict[RowKey, list[RowKey]] = {}
    for key in keys:
        if key not in equal:
            found.setdefault(_loose(key, version), []).append(key)
    return found


def _loose(key: RowKey, version: int) -> RowKey:
    def part(ids: str) -> str:
        if ids.startswith(BY_VALUE):
            return DIGEST.sub(BY_VALUE, ids)
        return "" if version == 1 else ids

    return key._replace(model_ids=part(key.model_ids), variant_ids=part(key.variant_ids))
