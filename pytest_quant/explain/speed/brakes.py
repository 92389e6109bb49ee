"""Brakes: what keeps a variant from being fast, in sentences with a remedy each."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from pytest_quant.explain.other_flows import compiled as _compiled
from pytest_quant.explain.speed.operators import RECURRENT, UNNAMED, Profile
from pytest_quant.machine.conditions import available_cores
from pytest_quant.machine.cpu import has_bfloat16
from pytest_quant.measure.work import work_of
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.variant import Variant

if TYPE_CHECKING:
    from pytest_quant.explain.speed.slowness import Slowness

MOST = 3
NAMED = 3  # things in one list of a sentence
MUCH = 0.5  # share of the multiply-adds, or of the time
CONVERTING = 0.1  # share of the time from which on conversions are worth a sentence
COMPILED = 0.2  # ms; of FP32 that takes less, the call of a compiled graph costs more than it saves
CALLING = 0.01  # ms; operators that take less on average cost little more than being called
OUTSIDE = 0.4  # the same of the time between the int8 layers
NOT_FASTER = (
    1 / 1.5
)  # of FP32's time for the same layers, from which on int8 kernels gain too little
HEAVY = ("convolution", "linear", "recurrent", "attention")
INT8, FLOAT = ([f"{how} {what}" for what in HEAVY] for how in ("int8", "float"))
FAST_PATH = ("_transformer_encoder_layer_fwd", "_native_multi_head_attention")
FOR_SPEED = "For speed take Recipe('static'), the fixture quant_static."


class Brake(NamedTuple):
    """What keeps a variant from being fast.

    Args:
        sentence: for a person.
        recipe: that the sentence proposes, if it does.
    """

    sentence: str
    recipe: Recipe | None = None


def brakes_on(
    variant: Variant, slowness: "Slowness", own: Profile, fp32: Profile
) -> tuple[Brake, ...]:
    """Where the time goes, and the first causes that the measurement supports; three at most."""
    recipe = variant.recipe
    causes = [] if recipe is None else [*_causes(variant, recipe, slowness, own, fp32)]
    if not causes and recipe is not None and variant.facts.is_observed:
        share = own.share_of(*INT8)
        already = f"; {_percent(share)} of the time is in int8 layers already"
        others, other = _others(variant, recipe)
        causes = [Brake(f"No single cause stands out{others or already}.", other)]
    return (Brake(_where(slowness, own)), *causes)[:MOST]


def _where(slowness: "Slowness", own: Profile) -> str:
    shares: dict[str, float] = {}
    for each in own.operators:
        what = each.does or each.name.removeprefix("aten::")
        shares[what] = shares.get(what, 0.0) + each.share
    largest = sorted(shares.items(), key=lambda item: -item[1])[:NAMED]
    listed = ", ".join(f"{_percent(share)} {what}" for what, share in largest if share >= 0.01)
    batch = f"a batch of {slowness.batch}" if slowness.batch else "its inputs"
    under = " under the profiler" if own.is_distorted else ""
    return (
        f"{slowness.variant} takes {slowness.ms:.3g} ms for {batch}, FP32 {slowness.fp32_ms:.3g} ms; "
        f"of its time{under}: {listed}."
    )


def _causes(
    variant: Variant, recipe: Recipe, slowness: "Slowness", own: Profile, fp32: Profile
) -> Iterator[Brake]:
    """Each cause that applies, those first whose remedy gains most."""
    yield from _of_kind(variant, recipe, slowness)
    if slowness.threads > (cores := available_cores()):
        yield Brake(
            f"{slowness.threads} threads share {cores} cores, so that they wait for each other: "
            f"--quant-threads={cores}."
        )
    if _has_fast_path(fp32) and not _has_fast_path(own):
        yield Brake(
            "FP32 takes PyTorch's fast path for attention, which a model with int8 layers cannot; "
            "Recipe('cast') can, in half precision.",
            Recipe("cast"),
        )
    if (slowness.conversion_share or 0) >= CONVERTING:
        yield _converting(variant, recipe, slowness)
    without, other = getattr(variant.model, "without_kernel", 0), _uncompiled(variant)
    if without and not variant.has_failed(recipe.kind, other):
        yield Brake(
            f"inductor found no int8 kernel for {without} uses of int8 weights and computes them in "
            f"float: Recipe({recipe.kind!r}, flow={other!r}) takes other kernels.",
            replace(recipe, flow=other, engine=None),
        )
    large = [what for what in FLOAT if not what.endswith(RECURRENT)]  # which consists of small ones
    if fp32.share_of(*large) < MUCH and fp32.ms < CALLING * fp32.counted:
        yield _small(variant, recipe, slowness, fp32.counted)
    if (slowness.int8_macs or 0) < MUCH:
        return
    int8, before = own.ms * own.share_of(*INT8), fp32.ms * fp32.share_of(*FLOAT)
    before *= slowness.int8_macs or 0
    careful = not (own.is_distorted or fp32.is_distorted)
    if careful and before and int8 > NOT_FASTER * before:
        yield _no_faster(variant, recipe, slowness, int8, before)
    if int8 and (found := _outside(variant, recipe, slowness, own)):
        most = f" It could be {fp32.ms / (own.ms - int8):.2f}x as fast as FP32 at most."
        yield found._replace(sentence=found.sentence + (most if careful else ""))


def _outside(variant: Variant, recipe: Recipe, slowness: "Slowness", own: Profile) -> Brake | None:
    """How much of the time int8 layers cannot shorten, and where it is."""
    others: dict[str, float] = {}
    for each in own.operators:
        if not each.does.startswith("int8") and each.name != UNNAMED:
            name = each.does or each.name.removeprefix("aten::")
            others[name] = others.get(name, 0.0) + each.share
    share = sum(others.values())
    if share < OUTSIDE:
        return None
    largest = sorted(others, key=lambda name: -others[name])[:NAMED]
    where = f", as {slowness.stretches[0]}" if slowness.stretches else ""
    compiled = _compiled(variant, recipe) if variant.facts.could_be_compiled else None
    compiling = f"; Recipe({recipe.kind!r}, flow='pt2e') compiles it" if compiled else ""
    return Brake(
        f"{_percent(share)} of the time is between the int8 layers ({', '.join(largest)}{where}), which "
        f"faster int8 layers cannot shorten{compiling}.",
        compiled,
    )


def _of_kind(variant: Variant, recipe: Recipe, slowness: "Slowness") -> Iterator[Brake]:
    """What no int8 kernel can mend, since the work is not done in int8."""
    facts = variant.facts
    if facts.unpacks_weights:
        yield Brake(
            "weight_only makes a model smaller, not faster: it computes in float with weights that it "
            f"unpacks at each call. {FOR_SPEED}",
            Recipe("static"),
        )
    elif facts.is_in_half and not has_bfloat16():
        yield Brake(
            "This CPU has no bfloat16 instructions, so that half precision makes a model smaller, not "
            f"faster. {FOR_SPEED}",
            Recipe("static"),
        )
    elif slowness.int8_macs is not None and slowness.int8_macs < MUCH and not facts.is_in_half:
        yield _little_int8(variant, recipe, slowness)


def _little_int8(variant: Variant, recipe: Recipe, slowness: "Slowness") -> Brake:
    work, facts = work_of(variant) or {}, variant.facts
    if facts.is_dynamic and work.get("convolution", 0) >= MUCH:
        return Brake(
            "Dynamic quantization has no int8 convolutions, and they are "
            f"{_percent(work['convolution'])} of this model's multiply-adds: take Recipe('static') "
            "(the fixture quant_static; it needs quant_calibration_data).",
            Recipe("static"),
        )
    listed = ", ".join(
        f"{each.name or 'the model itself'} ({_percent(each.macs)})"
        for each in slowness.stayed[:NAMED]
    )
    int8 = _percent(slowness.int8_macs or 0)
    text = f"Only {int8} of the multiply-adds are in int8; still in FP32: {listed}"
    if recipe.keep_fp32:
        fewer = f"name fewer layers in keep_fp32, which is {_names(recipe.keep_fp32)}"
        return Brake(f"{text}: {fewer}.", replace(recipe, keep_fp32=()))
    if facts.is_observed and not facts.sees_inside:
        if work.get("recurrent", 0) >= MUCH and not variant.has_failed("dynamic"):
            other = "static quantization has no int8 LSTM or GRU; Recipe('dynamic') has"
            return Brake(f"{text}: {other}.", Recipe("dynamic"))
        if (able := _compiled(variant, recipe)) is None:
            return Brake(f"{text}.")
        more = f"Recipe({recipe.kind!r}, flow='pt2e') may take more of them"
        return Brake(f"{text}: {more}.", able)
    if facts.is_dynamic:
        takes = "dynamic quantization takes Linear, recurrent and embedding layers only"
        return Brake(f"{text}: {takes}.")
    return Brake(f"{text}.")


def _converting(variant: Variant, recipe: Recipe, slowness: "Slowness") -> Brake:
    text = (
        f"{_percent(slowness.conversion_share or 0)} of the time goes into {slowness.conversions:.3g} "
        "conversions between float and int8"
    )
    if not slowness.stretches:
        fewer = "the fewer changes between int8 and FP32 layers, the fewer of them (keep_fp32)"
        return Brake(f"{text}; {fewer}.")
    text += f", around {slowness.stretches[0]}"
    if more := len(slowness.stretches) - 1:
        text += f" and in {more} more {'place' if more == 1 else 'places'}"
    names = {name for name, _ in variant.fp32.model.named_modules()}
    first = slowness.stretches[0]
    near = tuple(name for name in (*first.after[:1], *first.before[:1]) if name in names)
    keep = f"keep the layers around them FP32 (keep_fp32={near!r}, ...)"
    kept = replace(recipe, keep_fp32=(*recipe.keep_fp32, *near)) if near else None
    if variant.facts.could_be_compiled and _compiled(variant, recipe) is not None:
        keep += f", or let them be compiled into the loops (Recipe({recipe.kind!r}, flow='pt2e'))"
    return Brake(f"{text}: {keep}.", kept)


def _small(variant: Variant, recipe: Recipe, slowness: "Slowness", calls: float) -> Brake:
    larger, ms = max(32, 4 * slowness.batch), slowness.fp32_ms or 0.0
    text = (
        f"FP32's {ms:.2g} ms are {calls:.0f} operators of {1e3 * ms / calls:.1f} µs on average, mostly the "
        "cost of calling them, which int8 does not shorten: time a larger batch "
        f"(--quant-latency-batch={larger}) if batches are larger in use"
    )
    if (slowness.ms or 0.0) > ms:
        text += "; at this size FP32 is the faster one"
    other = _compiled(variant, recipe) if ms >= COMPILED else None
    if variant.facts.is_observed and not _is_compiled(variant) and other is not None:
        text += f", or compile the model (Recipe({recipe.kind!r}, flow='pt2e'))"
        return Brake(f"{text}.", other)
    return Brake(f"{text}.")


def _no_faster(
    variant: Variant, recipe: Recipe, slowness: "Slowness", int8: float, before: float
) -> Brake:
    text = f"The int8 layers take {int8:.3g} ms where FP32 takes {before:.3g} ms for the same"
    larger = 0 < slowness.batch < 8
    others, other = _others(variant, recipe)
    if not others and not larger:
        return Brake(f"{text}: this CPU gains little from int8 here.")
    if larger:
        batch = "a larger batch (--quant-latency-batch=32) if batches are larger in use"
        others = f"{others}, or {batch}" if others else f": try {batch}"
    return Brake(f"{text}{others}.", other)


def _uncompiled(variant: Variant) -> str:
    return "eager" if variant.facts.is_dynamic else "fx"


def _others(variant: Variant, recipe: Recipe) -> tuple[str, Recipe | None]:
    """Other kernels than those that a recipe took, as the end of a sentence, and the first recipe that
    has them; nothing where there are none."""
    facts = variant.facts
    if facts.is_compiled or not (facts.is_dynamic or facts.is_observed):
        return "", None
    other = replace(recipe, engine="auto")
    measured = (
        f"Recipe({recipe.kind!r}, engine='auto'), which measures the engines ({recipe.engine} here)"
    )
    if facts.is_dynamic or _compiled(variant, recipe) is None:
        return f": try {measured}", other
    compiling = f"or Recipe({recipe.kind!r}, flow='pt2e'), which compiles the model"
    return f": try {measured}, {compiling}", other


def _has_fast_path(profile: Profile) -> bool:
    return any(each.name.removeprefix("aten::") in FAST_PATH for each in profile.operators)


def _is_compiled(variant: Variant) -> bool:
    return hasattr(variant.model, "int8_modules")


def _percent(share: float) -> str:
    """For a person: whole per cents, and two digits below ten."""
    return f"{100 * share:.0f} %" if share >= 0.1 or not share else f"{100 * share:.2g} %"


def _names(kept: tuple[str | type, ...]) -> str:
    return ", ".join(repr(item) if isinstance(item, str) else item.__name__ for item in kept)
