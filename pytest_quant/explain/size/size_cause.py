"""Size cause: which layers hold a variant's bytes, which of them are still FP32, what to do about it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from tabulate import tabulate

from pytest_quant.errors import QuantStageError, in_brief, listed
from pytest_quant.explain.size.attainable import least_bytes
from pytest_quant.explain.size.layer_bytes import LayerBytes, held_by, shared_by_layers
from pytest_quant.quantize.names import kept
from pytest_quant.variant.measurements import MB
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.variant import Variant

SHOWN = 6  # lines of the table, which is to fit on a screen
NAMED = 3  # layers in one sentence
LITTLE = 0.05  # share of the bytes, below which FP32 is not what makes a model large
OTHERS = (
    Recipe("dynamic"),
    Recipe("static"),
    Recipe("weight_only"),
    Recipe("weight_only", dtype="int4"),
)
MUCH_SMALLER = 0.9  # of what this kind can reach, from which on another kind is worth a sentence
PROPOSED = (
    "recipe to be smaller"  # under which a variant keeps the first that the sentences propose
)
OUT_OF_REACH = "No recipe that is known here could meet this limit."
ROUGHLY = 1.1  # bytes are foretold so well
HEADER = ("layer", "type", "stored as", "MB", "share")


@dataclass(frozen=True, slots=True)
class Tensors:
    """Which layers hold a variant's bytes.

    Args:
        variant, model, where: whose.
        bytes, fp32_bytes: of the variant's tensors and of FP32's; None where it is not known.
        held: what each layer holds, those with most first; together ``bytes``.
        float_bytes: of those, what is still stored as FP32.
        least_ratio: of FP32's bytes, that this kind of quantization could reach here if it took all that
            it can; None where it is not known.
        sentences: what it means and what to do, for a person; three at most.
        notes: what could not be told, and why.
    """

    variant: str
    model: str
    where: str
    bytes: int | None = None
    fp32_bytes: int | None = None
    held: tuple[LayerBytes, ...] = ()
    float_bytes: int | None = None
    least_ratio: float | None = None
    sentences: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ratio(self) -> float | None:
        """The variant's bytes to FP32's."""
        return self.bytes / self.fp32_bytes if self.bytes is not None and self.fp32_bytes else None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        lists = {name: list(getattr(self, name)) for name in ("sentences", "notes")}
        return {**asdict(self), **lists, "held": [held.to_dict() for held in self.held]}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Tensors":
        """What `to_dict` wrote."""
        return cls(
            **{
                **plain,
                "held": tuple(LayerBytes(**held) for held in plain["held"]),
                "sentences": tuple(plain["sentences"]),
                "notes": tuple(plain["notes"]),
            }
        )

    def __str__(self) -> str:
        return "\n".join([*self.sentences, "", self.table(), *self.notes]).strip()

    def table(self, most: int = SHOWN) -> str:
        """The layers that hold most, as text."""
        if not self.held:
            return ""
        whole = self.bytes or 1
        lines = [
            (
                held.layer or "(none)",
                _type(held),
                held.dtype,
                _mb(held.bytes),
                f"{100 * held.bytes / whole:.0f} %",
            )
            for held in self.held[:most]
        ]
        align = ("left", "left", "left", "right", "right")
        text = tabulate(lines, HEADER, disable_numparse=True, colalign=align)
        rest = self.held[most:]
        left = _mb(sum(held.bytes for held in rest))
        return f"{text}\n... and {len(rest)} more with {left} MB" if rest else text


def weigh(variant: Variant) -> Tensors:
    """What the variant's layers hold; never raises: what went wrong is a note."""
    found = Tensors(variant.name, variant.subject.label, variant.subject.where)
    try:
        return _measured(variant, found)
    except QuantStageError as error:
        return replace(found, notes=(f"what holds the bytes is not known: {error.sentence}",))
    except Exception as error:  # a failed gate must still be reported
        return replace(found, notes=(f"what holds the bytes is not known: {in_brief(error)}",))


def within(variant: Variant, proposed: Recipe, most: float) -> Recipe | None:
    """A recipe that could come to a limit: what is proposed, else another kind; None where none could.

    Args:
        variant: that is too large.
        proposed: what its sentences propose.
        most: bytes that are allowed.
    """
    fp32, own = held_by(variant.fp32), variant.recipe
    shared = shared_by_layers(variant.fp32.model)
    others = [r for r in OTHERS if own is None or (r.kind, r.dtype) != (own.kind, own.dtype)]
    for each in (proposed, *others):
        least = least_bytes(variant.facts_of(each), fp32, unbuilt=True, shared=shared)
        if least is None and each is proposed:  # nothing is known against it
            return each
        if least is not None and least <= ROUGHLY * most and not variant.has_failed(each.kind):
            return each
    return None


def left_in_float(variant: Variant, tensors: Tensors) -> tuple[str, Recipe | None] | None:
    """Why layers are still FP32, and the recipe that takes them; None where too few are to matter."""
    if variant.recipe is None or (tensors.float_bytes or 0) < LITTLE * (tensors.bytes or 1):
        return None
    return next(_of_floats(variant, variant.recipe, tensors), None)


def _measured(variant: Variant, found: Tensors) -> Tensors:
    held, recipe = held_by(variant), variant.recipe
    found = replace(
        found,
        bytes=variant.size.tensor_bytes,
        fp32_bytes=variant.fp32.size.tensor_bytes,
        held=held,
        float_bytes=sum(part.bytes for part in held if part.dtype == "FP32") if held else None,
    )
    if not held or not found.fp32_bytes:
        note = "which layers hold the bytes cannot be seen: the build returned no torch.nn.Module"
        return replace(found, notes=(note,))
    least = None if recipe is None else least_bytes(variant.facts, held)
    if least is not None:
        found = replace(found, least_ratio=least / found.fp32_bytes)
    remedies = [*_remedies(variant, found)]
    proposed = [recipe for _, recipe in remedies if recipe is not None]
    if proposed:
        variant.keep(PROPOSED, proposed[0])
    return replace(found, sentences=(_how_large(found), *(sentence for sentence, _ in remedies)))


def _how_large(tensors: Tensors) -> str:
    whole, still = tensors.bytes or 0, tensors.float_bytes or 0
    text = f"{tensors.variant} holds {_mb(whole)} MB, {tensors.ratio:.3f} of FP32's"
    if still < LITTLE * whole:
        return f"{text}; all of it but {_mb(still)} MB is in fewer bits than FP32 already."
    largest, *others = _floats(tensors)
    others = [held for held in others if held.bytes >= LITTLE * whole]
    listed = ", ".join(_shown(held) for held in [largest, *others][:NAMED])
    return f"{text}; {_mb(still)} MB of it are still FP32, most in {listed}."


def _remedies(variant: Variant, tensors: Tensors) -> Iterator[tuple[str, Recipe | None]]:
    """Sentences, each with the recipe that it proposes."""
    recipe, fp32_bytes = variant.recipe, tensors.fp32_bytes or 1
    fp32, shared = held_by(variant.fp32), shared_by_layers(variant.fp32.model)
    facts = {each: variant.facts_of(each) for each in OTHERS}
    others = {
        each: least_bytes(facts[each], fp32, unbuilt=True, shared=shared) or 0 for each in OTHERS
    }
    if recipe is None:
        able = [each for each in OTHERS if not variant.has_failed(each.kind)]
        listed = ", ".join(f"Recipe{_call(each)} {_mb(others[each])} MB" for each in able)
        yield f"Quantized it could come to about: {listed}.", None
        return
    if (tensors.float_bytes or 0) >= LITTLE * (tensors.bytes or 1):
        yield from _of_floats(variant, recipe, tensors)
    if tensors.least_ratio is None:
        return
    least = round(tensors.least_ratio * fp32_bytes)
    text = (
        f"With all that {variant.facts.name} can take it would be {tensors.least_ratio:.3f} of FP32 "
        f"({_mb(least)} MB): it cannot meet a limit below that"
    )
    smaller = [
        each
        for each in OTHERS
        if others[each] < MUCH_SMALLER * least and not variant.has_failed(each.kind)
    ]
    if smaller:
        best = smaller[0]
        text += f"; Recipe{_call(best)} could come to about {others[best] / fp32_bytes:.2f}"
        text += " (smaller, but no faster than FP32)" if facts[best].unpacks_weights else ""
    yield f"{text}.", smaller[0] if smaller else None


def _of_floats(
    variant: Variant, recipe: Recipe, tensors: Tensors
) -> Iterator[tuple[str, Recipe | None]]:
    """What would take the layers whose weights are still FP32, where they are enough to matter."""
    facts, enough = variant.facts, LITTLE * (tensors.bytes or 1)
    names = kept(variant.fp32.model, recipe.keep_fp32)
    weights = [held for held in _floats(tensors) if held.weight_bytes]
    by_choice = [held for held in weights if held.layer in names]
    if _bytes(by_choice) >= enough:
        saved = _bytes(by_choice) - (least_bytes(facts, by_choice) or 0)
        text = f"keep_fp32 keeps {_layers(by_choice)}; without it the model would be"
        yield f"{text} {_mb(saved)} MB smaller.", replace(recipe, keep_fp32=())
        return
    untaken = [held for held in weights if not facts.takes(held.type)]
    left = [held for held in weights if facts.takes(held.type)]
    parts, proposed = [], list[Recipe]()
    if not facts.is_known:
        parts.append(f"the recipe's own build has left {_layers(weights)} FP32")
    elif _bytes(untaken) >= enough:
        untaken = [held for held in untaken if held.bytes >= LITTLE * _bytes(untaken)]
        types = ", ".join(dict.fromkeys(_type(held) or "unnamed" for held in untaken))
        same = (Recipe(recipe.kind, flow="fx"),) if facts.is_observed else ()
        taking = _taking(variant, (*same, *OTHERS), untaken)
        text = f"{variant.facts.name} does not take {types} layers"
        parts.append(f"{text}; Recipe{_call(taking)} does" if taking else text)
        proposed += [taking] if taking else []
    if _bytes(left) >= enough:
        other = "fx" if facts.is_compiled else "pt2e"
        is_open = facts.is_observed and not variant.has_failed(recipe.kind, other)
        another = f"flow={other!r} or " if is_open else ""
        found = f"flow {recipe.flow} found no way to take {_layers(left)}"
        parts.append(f"{found}: {another}Recipe('weight_only') may")
        of_flow = [replace(recipe, flow=other, engine=None)] if is_open else []
        proposed += [*of_flow, Recipe("weight_only")]
    if parts:
        yield f"{'; '.join(parts)}.", proposed[0] if proposed else None


def _taking(variant: Variant, recipes: Iterable[Recipe], parts: list[LayerBytes]) -> Recipe | None:
    """The first recipe that takes all of these layers."""
    able = (
        each
        for each in recipes
        if all(variant.facts_of(each).takes(p.type) for p in parts)
        and not variant.has_failed(each.kind, each.flow)
    )
    return next(able, None)


def _bytes(parts: list[LayerBytes]) -> int:
    return sum(held.bytes for held in parts)


def _layers(parts: list[LayerBytes]) -> str:
    names = (held.layer or "the model's own" for held in parts)
    return listed(names, NAMED, counted=True)


def _floats(tensors: Tensors) -> list[LayerBytes]:
    return [held for held in tensors.held if held.dtype == "FP32"]


def _shown(held: LayerBytes) -> str:
    return f"{held.layer or 'no layer'} ({_type(held) or 'tensors'}, {_mb(held.bytes)} MB)"


def _type(held: LayerBytes) -> str:
    return "Linear of attention" if held.type.startswith("NonDynamically") else held.type


def _call(recipe: Recipe) -> str:
    dtype = f", dtype={recipe.dtype!r}" if recipe.dtype not in (None, "int8") else ""
    flow = f", flow={recipe.flow!r}" if recipe.flow != "auto" else ""
    return f"({recipe.kind!r}{dtype}{flow})"


def _mb(count: float) -> str:
    """Bytes in 10**6; of little, two digits."""
    return f"{count / MB:.2f}" if count >= MB / 10 else f"{count / MB:.2g}"
