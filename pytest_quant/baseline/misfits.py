"""Misfits: why two rows of one name make no row together: they are known to be of two variants."""

import json
from dataclasses import dataclass
from typing import Any

from pytest_quant.baseline.row import MetricScore, Row
from pytest_quant.variant.key import ModelKey, RowKey

WEIGHTS, EVAL_SET, RECIPE = "FP32's weights", "quant_eval_data", "recipe"


@dataclass(frozen=True, slots=True)
class Misfit:
    """What is not the same.

    Args:
        of: the model, or the variant.
        what: in a word or two.
        model: that it is of.
    """

    of: ModelKey | RowKey
    what: str

    @property
    def model(self) -> ModelKey:
        """Whose it is."""
        return self.of.of_model if isinstance(self.of, RowKey) else self.of


def misfits(one: Row, other: Row) -> list[Misfit]:
    """What differs between two rows of one name, of what both of them know.

    Speed is left out, since it is never the same twice.
    """
    model, variant = one.key.of_model, one.key
    sizes, shares = (
        [getattr(row, name) for row in (one, other)] for name in ("size", "int8_share")
    )
    facts: list[tuple[ModelKey | RowKey, str, Any, Any]] = [
        (model, WEIGHTS, one.fp32_digest, other.fp32_digest),
        (model, EVAL_SET, one.eval_set, other.eval_set),
        (variant, RECIPE, _text(one.recipe), _text(other.recipe)),
        (variant, "size", *[size and size.tensor_bytes for size in sizes]),
        (variant, "int8 share", *[share and share.parameters for share in shares]),
    ]
    found = [Misfit(of, what) for of, what, a, b in facts if None not in (a, b) and a != b]
    theirs = {metric.name: metric for metric in other.metrics}
    return found + [
        Misfit(variant, metric.name)
        for metric in one.metrics
        if metric.name in theirs and _contradict(metric, theirs[metric.name])
    ]


def in_fixed_order(one: Row, other: Row) -> tuple[Row, Row]:
    """Two rows that do not fit, in an order that does not depend on which came first; rows of one FP32
    come on the same side."""
    return (one, other) if _rank(one) <= _rank(other) else (other, one)


def _rank(row: Row) -> tuple[str, ...]:
    eval_set = "" if row.eval_set is None else row.eval_set.fingerprint
    told = json.dumps(row.to_dict(), sort_keys=True, default=str)
    return row.fp32_digest or "", eval_set, _text(row.recipe) or "", told


def _text(recipe: object) -> str | None:
    return None if recipe is None else json.dumps(recipe, sort_keys=True, default=str)


def _contradict(one: MetricScore, other: MetricScore) -> bool:
    if (one.unit, one.higher_is_better) != (other.unit, other.higher_is_better):
        return True
    if not (one.is_whole and other.is_whole) or None in (one.value, other.value):
        return False
    both_nan = one.value != one.value and other.value != other.value
    return one.value != other.value and not both_nan
