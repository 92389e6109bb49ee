"""By value: what tells variants of stores of one's own from namesakes: digests of all that they depend on.

The plugin names what fixtures give by where they came from. A store that a test opens itself has no such
place, and two of them may have Subjects of one name.
"""

import hashlib
import secrets
from collections.abc import Iterable
from typing import Any

from pytest_quant.subject.fingerprint import known_fingerprint
from pytest_quant.subject.inputs import inputs_for
from pytest_quant.variant.key import BY_VALUE
from pytest_quant.variant.variant import Variant

LENGTH = 4  # bytes, for a handful of namesakes in one run


def name_by_value(variant: Variant) -> None:
    """Give a variant, and its FP32, ids that are equal only for equal inputs, recipe and conditions.

    Equal in every process of one run; ids of what cannot be told from another value are equal to no others.
    """
    if variant.subject.identities:  # of fixtures
        return
    fp32 = variant.fp32
    fp32.model_ids = fp32.once("ids", lambda: _ids(fp32.subject.ids, _of_model(fp32)))
    if not variant.is_fp32:
        variant.ids = variant.once("ids", lambda: _ids(variant.ids, _of_variant(variant)))


def _of_model(fp32: Variant) -> Iterable[Any]:
    conditions = fp32.conditions
    yield conditions.engine, conditions.threads, conditions.seed, conditions.latency_batch
    yield from (getattr(fp32.subject, each.field) for each in inputs_for("fp32"))


def _of_variant(variant: Variant) -> Iterable[Any]:
    recipe, of_all = variant.recipe, inputs_for("fp32")
    yield recipe
    for each in variant.subject.inputs(recipe.kind if recipe else "fp32"):
        if each not in of_all:
            yield getattr(variant.subject, each.field)


def _ids(given: str, values: Iterable[Any]) -> str:
    digests = [_digest(value) for value in values]
    told = hashlib.blake2b(b"".join(digests), digest_size=LENGTH).hexdigest()
    return f"{BY_VALUE}{told}{f'-{given}' if given else ''}"


def _digest(value: Any) -> bytes:
    return known_fingerprint(value) or secrets.token_bytes(16)
