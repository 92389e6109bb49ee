"""Weighing: whether another flow than the first that can takes more of a model, or is more exact."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from pytest_quant.errors import QuantStageError, UnwantedError
from pytest_quant.measure.nearness import nearness
from pytest_quant.measure.one_call import multiply_adds, one_call
from pytest_quant.quantize.methods.registry import facts_of, flows_after
from pytest_quant.quantize.names import kept
from pytest_quant.store.choice import Choice
from pytest_quant.store.contest import static_of
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.variant import Variant

LEFT = 0.1  # of the multiply-adds: one flow that leaves no more FP32 is not weighed
MORE = 0.1  # of the multiply-adds: another flow takes notably more
INEXACT = 10.0  # dB: right models of random weights have 14 and more (reports/zoo.md)
EXACT = 20.0  # dB: enough for another flow
ONE_BIT = 6.02  # dB: what a flow that takes more may lose
SECONDS = 300.0  # after which no further flow is tried, and no variant trained again
COMPILING = 3.0  # times as long as its export: 1.4, 1.6, 2.1 and 3.6 were measured


@dataclass(frozen=True, slots=True)
class Weight:
    """What one flow made of a model.

    Args:
        variant: as built.
        share: of the multiply-adds that became int8, in [0, 1].
        exactness: SQNR of the outputs against FP32's on the first eval batch, in dB; NaN where they hold
            no floating-point numbers, so that the share alone is weighed.
    """

    variant: Variant
    share: float
    exactness: float

    def is_better_than(self, other: "Weight") -> bool:
        """Whether it takes notably more and is exact enough; or takes as much and is exact, where the
        other is not. Data at fault makes all flows inexact, which is no reason for another one."""
        more = self.share >= other.share + MORE
        if math.isnan(self.exactness) or math.isnan(other.exactness):
            return more
        enough = min(other.exactness - ONE_BIT, EXACT)
        takes_more = more and self.exactness >= enough
        takes_as_much = self.share >= other.share - MORE / 2
        more_exact = other.exactness < INEXACT and self.exactness >= EXACT
        return takes_more or (takes_as_much and more_exact)

    def __str__(self) -> str:
        assert self.variant.recipe is not None
        return f"{self.variant.recipe.flow} takes {self.figures}"

    @property
    def figures(self) -> str:
        """For a person."""
        exactness = "" if math.isnan(self.exactness) else f" at {self.exactness:.0f} dB"
        return f"{100 * self.share:.0f} %{exactness}"


def is_weighed(recipe: Recipe) -> bool:
    """Whether the flow is left open, and more than one could be taken."""
    return recipe.flow == "auto" and facts_of(recipe).is_observed


def weighed(
    first: Variant,
    asked: Recipe,
    make: Callable[[Recipe, Callable[[Variant], None]], Variant],
    static: Callable[[Recipe], Variant],
) -> tuple[Variant, Choice]:
    """The variant by the flow that is best for the model; the first one where no other is better.

    Others are tried only where the first leaves more than a tenth of the multiply-adds FP32, beyond what
    the recipe keeps FP32, or is less exact than rounding explains. What is compiled is weighed before, by
    what its graph computes operation by operation, and compiled only if it is better and in time.

    Args:
        first: by the first flow that can.
        asked: its recipe, with the flow left open.
        make: builds the variant by another flow, and shows it before it is compiled.
        static: gives the static variant of a recipe. QAT's flow is found with it, since training takes
            long and does not change what a flow takes.
    """
    start = time.perf_counter()
    known = _weight(first)
    if known is None or not _leaves_much(known, asked):
        return first, Choice(asked.flow, asked.engine)
    best, others, failed = known, list[Weight](), dict[str, str]()
    for flow in _others(first, asked, static):
        took = sum(best.variant.seconds.values()) if best.variant.facts.trains else 0.0
        if time.perf_counter() - start + took > SECONDS:
            failed[flow] = "was not tried, since that takes long"
            continue
        try:
            tried = _weight(make(replace(asked, flow=flow), _Look(best, start)))
        except _NotBetter as found:
            others.append(found.weight)
            continue
        except QuantStageError as error:
            failed[flow] = getattr(error, "reason", str(error)).removeprefix(f"{flow} ").rstrip(".")
            continue
        if tried is None:
            continue
        if tried.is_better_than(best):
            best, tried = tried, best
        others.append(tried)
        if not _leaves_much(best, asked):
            break
    flow = asked.flow if best is known or best.variant.recipe is None else best.variant.recipe.flow
    note = _told(best, others, failed) if others or failed else None
    return best.variant, Choice(flow, asked.engine, note, others_tried=True)


@dataclass(frozen=True, slots=True)
class _Look:
    """Lets what is no better than the best so far, or takes too long, be no further made.

    Args:
        best: so far.
        start: of the weighing, by `time.perf_counter`.
    """

    best: Weight
    start: float

    def __call__(self, variant: Variant) -> None:
        found = _weight(variant)
        if found is not None and not found.is_better_than(self.best):
            raise _NotBetter(found)
        needed = COMPILING * variant.seconds.get("prepare", 0.0)
        if time.perf_counter() - self.start + needed > SECONDS:
            what = "would take too long" if found is None else f"would take {found.figures}"
            raise UnwantedError(
                "compile", f"{what}, but was not compiled, which takes about {needed:.0f} s."
            )


class _NotBetter(UnwantedError):
    """What was tried is no better.

    Args:
        weight: of it.
    """

    def __init__(self, weight: Weight) -> None:
        super().__init__("convert", str(weight))
        self.weight = weight


def _others(first: Variant, asked: Recipe, static: Callable[[Recipe], Variant]) -> Iterable[str]:
    assert first.recipe is not None
    if not first.facts.trains:
        return flows_after(asked, first.fp32.model, first.recipe.flow)
    try:
        found = static(static_of(asked))
    except QuantStageError:
        return ()
    assert found.recipe is not None
    return () if found.recipe.flow == first.recipe.flow else (found.recipe.flow,)


def _weight(variant: Variant) -> Weight | None:
    try:
        share = variant.int8_share.macs
        return None if share is None else Weight(variant, share, nearness(variant))
    except QuantStageError:  # which is told when it is judged
        return None


def _leaves_much(weight: Weight, asked: Recipe) -> bool:
    names = kept(weight.variant.fp32.model, asked.keep_fp32)
    macs, total = multiply_adds(weight.variant), one_call(weight.variant).total
    wanted = sum(count for name, count in macs.items() if name in names) / max(total, 1)
    return 1 - weight.share - wanted > LEFT or weight.exactness < INEXACT


def _told(best: Weight, others: list[Weight], failed: dict[str, str]) -> str:
    def parts() -> Iterator[str]:
        yield from map(str, others)
        yield from (f"{flow} {reason}" for flow, reason in failed.items())

    of_what = "" if math.isnan(best.exactness) else " of the outputs"
    return f"of the multiply-adds, flow {best}{of_what}; {', '.join(parts())}"
