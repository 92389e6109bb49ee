"""Mending: find a recipe that holds a limit and keeps as little as possible in FP32."""

import time
from collections.abc import Mapping
from typing import Any

from pytest_quant.explain.remedies.drop_limit import drop_limit
from pytest_quant.explain.remedies.limit import Limit, flips_limit, sqnr_limit
from pytest_quant.explain.remedies.remedy import Remedy
from pytest_quant.explain.remedies.search import Search
from pytest_quant.judge.limits import ALPHA
from pytest_quant.variant.variant import Variant

SECONDS = 300.0
DROP = 0.01
WEIGHED = {"bytes": "parameters", "time": "macs"}


def mend(
    variant: Variant,
    max_drop: float | None = None,
    *,
    relative: bool = False,
    metric: str | None = None,
    scope: str = "dataset",
    alpha: float = ALPHA,
    min_sqnr: float | None = None,
    max_flips: float | None = None,
    cheap: bool = True,
    weigh: str = "bytes",
    seconds: float = SECONDS,
) -> Remedy:
    """The recipe nearest to the variant's own that holds the limit, built and measured.

    First the cheap remedies: scales for each channel, equalization, another observer, another engine.
    Then the layers to keep in FP32: ranked by what each alone costs the outputs (`explain`), taken by
    doubling and bisection, and given back one by one as long as the limit holds. Candidates of static
    and QAT variants are evaluated in float arithmetic, and on a part of a large eval set; what comes
    out is built as its recipe says and judged on every sample, and only then proposed.

    The search looks at the eval data. Where that matters, judge the proposal on samples that it has
    not seen.

    Args:
        variant: a quantized one that does not hold it.
        max_drop: as in `assert_max_accuracy_drop`: 0.01 is one point, which is taken without any limit.
        relative: `max_drop` is a share of FP32's value.
        metric: whose drop; default the first.
        scope, alpha: of the drop, as in `assert_max_accuracy_drop`.
        min_sqnr: instead of a drop, decibels as in `assert_min_sqnr`.
        max_flips: instead of a drop, a share of the samples as in `assert_max_flips`.
        cheap: whether remedies that keep no layer in FP32 are tried.
        weigh: what is to be saved of the layers kept, ``bytes`` or ``time`` (multiply-adds).
        seconds: after which the search ends with what it has.

    Raises:
        TypeError, ValueError: a wrong argument; says what is allowed.
        QuantStageError: when the variant cannot be evaluated.
    """
    if not isinstance(variant, Variant) or variant.is_fp32 or variant.recipe is None:
        raise TypeError(f"mend was given {variant!r}; expected a quantized Variant")
    if weigh not in WEIGHED:
        raise ValueError(f"weigh is {weigh!r}; allowed: {', '.join(WEIGHED)}")
    if min_sqnr is None and max_flips is None:
        drop = DROP if max_drop is None else max_drop
        limit: Limit = drop_limit(variant, drop, relative, metric, scope, alpha)
    else:
        beside = {"relative": relative, "metric": metric, "scope": scope != "dataset"}
        limit = _other_limit(variant, max_drop, beside, min_sqnr, max_flips)
    search = Search(variant, variant.recipe, limit, WEIGHED[weigh], time.perf_counter() + seconds)
    with variant.timed("mend"):
        remedy = search.remedy(cheap)
    variant.keep("remedy", remedy)
    return remedy


def _other_limit(
    variant: Variant,
    max_drop: float | None,
    beside: Mapping[str, Any],
    min_sqnr: float | None,
    max_flips: float | None,
) -> Limit:
    stated = {"max_drop": max_drop, "min_sqnr": min_sqnr, "max_flips": max_flips}
    given = [f"{name}={value!r}" for name, value in stated.items() if value is not None]
    if len(given) > 1:
        raise TypeError(f"mend was given {', '.join(given)}; expected one limit")
    if any(beside.values()):
        *names, last = beside
        raise TypeError(
            f"mend was given {given[0]} with {', '.join(names)} or {last}, which belong to max_drop"
        )
    if min_sqnr is not None:
        return sqnr_limit(min_sqnr)
    assert max_flips is not None
    return flips_limit(variant, max_flips)
