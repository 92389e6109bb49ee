"""Mending: find a recipe that holds the accuracy limit and keeps as little as possible in FP32."""

import time

from pytest_quant.explain.remedies.remedy import Remedy
from pytest_quant.explain.remedies.search import Search
from pytest_quant.explain.remedies.trial import limit_of
from pytest_quant.variant.variant import Variant

SECONDS = 300.0
WEIGHED = {"bytes": "parameters", "time": "macs"}


def mend(
    variant: Variant,
    max_drop: float = 0.01,
    *,
    relative: bool = False,
    metric: str | None = None,
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
        variant: a quantized one that drops too much.
        max_drop: as in `assert_max_accuracy_drop`: 0.01 is one point.
        relative: the limit is a share of FP32's value.
        metric: which one; default the first.
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
    limit = limit_of(variant, max_drop, relative, metric)
    search = Search(variant, variant.recipe, limit, WEIGHED[weigh], time.perf_counter() + seconds)
    with variant.timed("mend"):
        remedy = search.remedy(cheap)
    variant.keep("remedy", remedy)
    return remedy
