"""Check: what is wrong with a baseline's rows and eval sets, before anything is compared with them."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from pytest_quant.baseline.packing import (
    Array,
    fingerprint_of_packed,
    unpack_samples,
    unpack_scores,
)
from pytest_quant.variant.key import RowKey


def check(rows: list[Any], eval_sets: Mapping[str, Any]) -> None:
    """Refuse what a later comparison would stumble over."""
    sizes = {}
    for fingerprint, packed in eval_sets.items():
        sizes[fingerprint] = len(unpack_samples(of_kind(str, packed)))
        if fingerprint_of_packed(packed) != fingerprint:
            raise ValueError(f"the samples of eval set {fingerprint} have another fingerprint")
    for row in rows:
        of_kind(dict, row)
        for name in ("where", "model", "variant"):
            of_kind(str, row[name])
        of_kind((dict, type(None)), row["recipe"])
        for metric in of_kind(list, row["metrics"]):
            for name, kind in (("name", str), ("unit", str), ("samples", int), ("of", int)):
                of_kind(kind, metric[name])
            of_kind(bool, metric["higher_is_better"])
            of_kind((float, int, type(None)), metric["value"])
        if (size := row["size"]) is not None:
            of_kind(int, size["tensor_bytes"])
        if (share := row["int8_share"]) is not None:
            of_kind((float, int, type(None)), share["parameters"])
            of_kind((float, int, type(None)), share["macs"])
        if (latency := row["latency"]) is not None:
            of_kind((float, int), latency["speedup"])
            of_kind(int, latency["batch"])
            if (interval := latency["interval_95"]) is not None:
                low, high = (of_kind((float, int), end) for end in of_kind(list, interval))
                if not 0 < low <= high:
                    raise ValueError(f"an interval from {low} to {high}")
        if (eval_set := row["eval_set"]) is not None:
            scores = {}
            for name, packed in of_kind(dict, row["scores"]).items():
                if sizes[eval_set["fingerprint"]] != eval_set["samples"]:
                    raise ValueError(f"eval set {eval_set['fingerprint']} has lost samples")
                scores[name] = unpack_scores(packed, eval_set["samples"])
            _check_values(row, scores)
    if len({RowKey.of(row) for row in rows}) < len(rows):
        raise ValueError("a variant has two rows")


def _check_values(row: Mapping[str, Any], scores: Mapping[str, Array]) -> None:
    """Refuse a value that is not the mean of its own scores, as where somebody has edited it."""
    for metric in row["metrics"]:
        each, value = scores.get(metric["name"]), metric["value"]
        if each is None or value is None or metric["samples"] != metric["of"]:
            continue
        each = each[~np.isnan(each)]  # a sample of which nothing counts has no score
        with np.errstate(all="ignore"):
            mean = float(np.mean(each, dtype=np.float64)) if len(each) else math.nan
            largest = float(np.abs(each).max(initial=1.0))
        if metric["unit"] == "perplexity":
            value = math.log(value) if value > 0 else math.nan
        if math.isfinite(mean) and not math.isclose(
            mean, value, rel_tol=1e-6, abs_tol=1e-9 * largest
        ):
            raise ValueError(
                f"{row['variant']} of {row['model']} has {metric['name']} {metric['value']:.6g}, which is "
                "not what its scores give"
            )


def of_kind(kind: Any, value: Any) -> Any:
    """The value, if it is of a type or of one of several.

    Raises:
        TypeError: else.
    """
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{value!r:.40} stands where something else belongs")
    return value
