"""Slowness: where the time of a variant's calls goes, beside FP32's, and what to do about it."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from tabulate import tabulate

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.explain.speed.brakes import brakes_on
from pytest_quant.explain.speed.operators import (
    CONVERSIONS,
    Operator,
    Profile,
    by_work,
    largest_of,
    profiled,
)
from pytest_quant.explain.speed.stretches import Stretch, stretches_of
from pytest_quant.machine.conditions import alone_on_this_machine
from pytest_quant.machine.turns import own_turn
from pytest_quant.measure.one_call import multiply_adds
from pytest_quant.variant.variant import Variant

SHOWN = 6  # lines of the table, which is to fit on a screen
LEAST = 0.005  # share of the time from which on an operator is kept by name
REST = "(all others)"
PROPOSED = "recipe to be faster"  # under which a variant keeps the first that the sentences propose
HEADER = ("what", "ms", "share", "FP32 ms", "share", "by which operators of PyTorch")


@dataclass(frozen=True, slots=True)
class Stayed:
    """A layer that stayed FP32.

    Args:
        name: the user's qualified name.
        type: the module's class, ``Conv2d``.
        macs: its share of the model's multiply-adds, in [0, 1].
    """

    name: str
    type: str
    macs: float


@dataclass(frozen=True, slots=True)
class Slowness:
    """Where the time goes in calls of a variant, and in FP32's beside it.

    Args:
        variant, model, where: whose.
        batch, threads: of one call: samples, and PyTorch's threads.
        ms, fp32_ms: of one call, without the profiler; None where it could not be measured.
        operators, fp32_operators: PyTorch's operators, those with most time first.
        conversions: from float to int8 and back, in one call; None where they are inside kernels.
        conversion_share: of the call's time, in [0, 1]; None likewise.
        stretches: where they lie.
        stayed: layers with multiply-adds that stayed FP32, those with most first.
        int8_macs: share of the multiply-adds that became int8, in [0, 1]; None where it is unknown.
        seconds: that it took to find out.
        sentences: where the time goes and what to do, for a person; three at most.
        notes: what could not be told, and why.
    """

    variant: str
    model: str
    where: str
    batch: int = 0
    threads: int = 0
    ms: float | None = None
    fp32_ms: float | None = None
    operators: tuple[Operator, ...] = ()
    fp32_operators: tuple[Operator, ...] = ()
    conversions: float | None = None
    conversion_share: float | None = None
    stretches: tuple[Stretch, ...] = ()
    stayed: tuple[Stayed, ...] = ()
    int8_macs: float | None = None
    seconds: float = 0.0
    sentences: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            **{name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()},
            "operators": [operator.to_dict() for operator in self.operators],
            "fp32_operators": [operator.to_dict() for operator in self.fp32_operators],
            "stretches": [stretch.to_dict() for stretch in self.stretches],
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Slowness":
        """What `to_dict` wrote."""
        return cls(
            **{
                **plain,
                "operators": tuple(Operator(**each) for each in plain["operators"]),
                "fp32_operators": tuple(Operator(**each) for each in plain["fp32_operators"]),
                "stretches": tuple(map(Stretch.from_dict, plain["stretches"])),
                "stayed": tuple(Stayed(**each) for each in plain["stayed"]),
                "sentences": tuple(plain["sentences"]),
                "notes": tuple(plain["notes"]),
            }
        )

    def __str__(self) -> str:
        return "\n".join([*self.sentences, "", self.table(), *self.notes]).strip()

    def table(self, most: int = SHOWN) -> str:
        """What takes the time, as text: the variant's milliseconds beside FP32's."""
        own, fp32 = by_work(self.operators), by_work(self.fp32_operators)
        order = sorted({*own, *fp32} - {REST}, key=lambda what: -_ms(own, what) - _ms(fp32, what))
        lines = [
            (
                what,
                *_cells(own, what),
                *_cells(fp32, what),
                largest_of(own.get(what, ())) or largest_of(fp32.get(what, ())),
            )
            for what in order[:most]
        ]
        if not lines:
            return ""
        return tabulate(
            lines, HEADER, disable_numparse=True, colalign=("left", *["right"] * 4, "left")
        )


def slowness_of(variant: Variant) -> Slowness:
    """Profiles some calls of the variant and of FP32, on the models and inputs that are timed.

    Takes a few seconds at most, but where a variant has to be compiled that was not timed before, or
    while another run or worker of this machine times. Never raises: what went wrong is a note.
    """
    start = time.perf_counter()
    found = Slowness(variant.name, variant.subject.label, variant.subject.where)
    try:
        found = _measured(variant, found)
    except QuantStageError as error:
        found = replace(found, notes=(f"where the time goes is not known: {error.sentence}",))
    except Exception as error:  # a failed gate must still be reported
        found = replace(found, notes=(f"where the time goes is not known: {in_brief(error)}",))
    return replace(found, seconds=time.perf_counter() - start)


def _measured(variant: Variant, found: Slowness) -> Slowness:
    conditions = variant.conditions
    pair = variant.measured("pair given") or variant.measured("pair best") or variant.pair()
    with own_turn(), alone_on_this_machine(conditions.tell), variant.isolated():
        fp32, own = (profiled(side.call, side.context) for side in (pair.a, pair.b))
        with pair.b.context():
            inputs = variant.admitted.first_inputs
            stretches = stretches_of(variant.model, lambda: variant.forward(inputs))
    if pair.seconds_a:  # timed with more care
        fp32, own = (
            each.taking(ms) for each, ms in zip((fp32, own), pair.milliseconds, strict=True)
        )
    stayed, int8_macs = _stayed(variant)
    converting = [each for each in own.operators if each.does in CONVERSIONS]
    hidden = not converting and (_is_compiled(variant) or variant.facts.is_dynamic)
    found = replace(
        found,
        batch=pair.batch,
        threads=conditions.threads,
        ms=own.ms,
        fp32_ms=fp32.ms,
        operators=_largest(own),
        fp32_operators=_largest(fp32),
        conversions=None if hidden else sum(each.calls for each in converting),
        conversion_share=None if hidden else sum(each.share for each in converting),
        stretches=stretches,
        stayed=stayed,
        int8_macs=int8_macs,
        notes=tuple(_notes(variant, own)),
    )
    brakes = brakes_on(variant, found, own, fp32)
    proposed = [brake.recipe for brake in brakes if brake.recipe is not None]
    if proposed:
        variant.keep(PROPOSED, proposed[0])
    return replace(found, sentences=tuple(brake.sentence for brake in brakes))


def _largest(profile: Profile) -> tuple[Operator, ...]:
    """The operators that count, and the rest of them as one."""
    rest = [operator for operator in profile.operators if operator.share < LEAST]
    sums = (sum(getattr(each, name) for each in rest) for name in ("calls", "ms", "share"))
    return (
        *(operator for operator in profile.operators if operator.share >= LEAST),
        *([Operator(REST, "", *sums)] if rest else []),
    )


def _stayed(variant: Variant) -> tuple[tuple[Stayed, ...], float | None]:
    """The layers with multiply-adds that stayed FP32, and the share of those that became int8."""
    share = variant.int8_share
    macs = multiply_adds(variant)
    total = sum(macs.values())
    stayed = [
        Stayed(name, type(variant.fp32.model.get_submodule(name)).__name__, macs[name] / total)
        for name in share.stayed_fp32
        if macs.get(name)
    ]
    return tuple(sorted(stayed, key=lambda layer: -layer.macs)), share.macs


def _notes(variant: Variant, own: Profile) -> list[str]:
    notes = []
    if _is_compiled(variant):
        from pytest_quant.quantize.flows.exported import quantizing_nodes

        places = sum(_is_quantizing(node) for node in quantizing_nodes(variant.model.graph))
        notes.append(
            f"inductor has merged the conversions to int8, at {places} places of the graph, into kernels "
            "and compiled loops, so that their time cannot be told from the others'"
        )
    elif variant.facts.is_dynamic:
        notes.append(
            "dynamic quantization converts activations inside each int8 layer, so that the time of the "
            "conversions is part of the layer's"
        )
    if own.is_distorted:
        notes.append(
            f"under the profiler a call took {own.profiled_ms / own.ms:.1f} times as long, so that many "
            "small operators look larger than they are"
        )
    return notes


def _is_quantizing(node: Any) -> bool:
    return ".quantize_per_tensor" in str(node.target)


def _is_compiled(variant: Variant) -> bool:
    return hasattr(variant.model, "int8_modules")


def _ms(groups: dict[str, list[Operator]], what: str) -> float:
    return sum(operator.ms for operator in groups.get(what, ()))


def _cells(groups: dict[str, list[Operator]], what: str) -> tuple[str, str]:
    if what not in groups:
        return "-", "-"
    ms, share = _ms(groups, what), sum(each.share for each in groups[what])
    return f"{ms:.2f}" if ms >= 1 else f"{ms:.3f}", f"{100 * share:.0f} %"
