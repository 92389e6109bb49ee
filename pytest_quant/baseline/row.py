"""Row: what is known of one variant, as plain data that crosses processes, files and versions.

The fields are the source of all that is said of a row elsewhere: report.schema.json (a test derives
it), the table's columns, and what a baseline keeps.
"""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any

from pytest_quant.variant.key import ADDED, RowKey
from pytest_quant.variant.measurements import Int8Share, Size

Plain = Mapping[str, Any]  # of JSON types


def said(description: str = "", *, kept: bool = False, **settings: Any) -> Any:
    """A field with its description for the schema, and whether a baseline keeps it."""
    return field(metadata={"description": description, "kept": kept}, **settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScore:
    """A metric on the samples of one class."""

    label: int
    samples: int
    value: float | None
    drop: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceScore:
    """A metric on the samples of one slice."""

    name: str = said("As quant_slices gave it, or class 7.")
    samples: int = said("That have a score.")
    fp32: float | None = said("FP32's value.")
    value: float | None
    drop: float | None = said("Positive where the variant is worse.")
    lost: int = said("Samples that score worse than in FP32.")
    won: int = said("Samples that score better.")
    chance: float | None = said(
        "That so many are lost by chance: one-sided sign test, Holm over the slices of 30 samples and "
        "more; null for smaller ones."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FlippedSample:
    """A sample that the variant scores otherwise than FP32."""

    position: int = said("In FP32's pass over the eval data, from 0.")
    label: int | None = said("Its target, where that is a class number.")
    fp32_score: float | None = said("By the metric: 1 is right, 0 is wrong.")
    score: float | None = said("The variant's.")
    fp32_class: int | None = said("With FP32's highest output; null where outputs name no class.")
    fp32_output: float | None = said("FP32's highest output, or its one output.")
    variant_class: int | None
    variant_output: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricScore:
    """One metric of a variant; ``of`` is None in files that do not tell, which means all samples."""

    name: str = said(kept=True)
    unit: str = said("fraction, perplexity or raw.", kept=True)
    higher_is_better: bool = said(kept=True, default=True)
    value: float | None = said(kept=True)
    samples: int = said("That were evaluated.", kept=True)
    of: int | None = said("That the eval set has.", kept=True, default=None)
    drop: float | None = said("From FP32; positive where the variant is worse.", kept=True)
    flips: int | None = said("Samples whose score differs from FP32's.", kept=True)
    flipped: tuple[int, ...] | None = said(
        "Their positions in FP32's pass, the first 1000.", default=None
    )
    fake_quantized: float | None = said(
        "QAT: the value before conversion; null where not all samples were scored.",
        kept=True,
        default=None,
    )
    classes: tuple[ClassScore, ...] | None = said(
        "By class, where targets are class numbers: those that drop most, 1000 at most.",
        default=None,
    )
    slices: tuple[SliceScore, ...] | None = said(
        "By slice, those of 30 samples and more before the others, that drops most first: 24 at most.",
        default=None,
    )
    slice_count: int | None = said("How many slices there are.", default=None)
    sliced_by: str | None = said(
        "What names the slices: quant_slices, or class where that is not given.", default=None
    )

    worst_flips: tuple[FlippedSample, ...] | None = said(
        "Samples that flip, those that lose before those that win, the surest wrong answers first: 24 at "
        "most.",
        default=None,
    )

    @property
    def is_whole(self) -> bool:
        """Whether all samples of the eval set were evaluated."""
        return self.of is None or self.samples == self.of


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalSet:
    """The samples that a variant was evaluated on."""

    fingerprint: str
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """How long one call takes, beside FP32's."""

    ms: float | None = said("Milliseconds of one call.")
    fp32_ms: float | None = said("FP32's, timed beside it.")
    batch: int | None = said("Samples in one call.")
    speedup: float | None
    interval_95: tuple[float | None, ...] | None
    rounds: int
    against_best: float | None = said("Against the faster of FP32 as given and in channels_last.")
    against_runtime: float | None = said(
        "Of a file: against FP32 in the runtime that runs it.", default=None
    )

    @property
    def interval(self) -> tuple[float, float] | None:
        """Low and high end of the speed-up's 95 % interval; None where there is none."""
        return _ends(self.interval_95)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedCell:
    """One cell of the grid of latencies."""

    threads: int = said("PyTorch's.")
    batch: int | None = said("Samples in one call.")
    ms: float | None = said("Milliseconds of one call.")
    fp32_ms: float | None = said("FP32's, timed beside it.")
    speedup: float | None
    interval_95: tuple[float | None, ...] | None
    rounds: int

    @property
    def interval(self) -> tuple[float, float] | None:
        """Low and high end of the speed-up's 95 % interval; None where there is none."""
        return _ends(self.interval_95)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One variant of a report or a baseline; None and empty where nothing was measured."""

    model: str = said(kept=True)
    where: str = said(
        "The folder, file or test that the model belongs to; empty for the whole repo.", kept=True
    )
    variant: str = said("fp32, dynamic, static, qat, or a recipe's own name.", kept=True)
    model_ids: str = said(
        "Ids of the parameters of the model's inputs, which tell namesakes apart.",
        kept=True, default="",
    )  # fmt: skip
    variant_ids: str = said(
        "Ids of the parameters of what the variant alone depends on.", kept=True, default=""
    )
    fp32_digest: str | None = said(
        "Of the weights and buffers of the FP32 model that it was made from; null where not known.",
        kept=True, default=None,
    )  # fmt: skip
    recipe: Plain | None = said(
        "How it was made, with the flow and engine that were taken; null for FP32.", kept=True
    )
    metrics: tuple[MetricScore, ...] = said(kept=True)
    eval_set: EvalSet | None = said(
        "The samples that it was evaluated on; null where not on all.", kept=True, default=None
    )
    size: Size | None = said(kept=True)
    fp32_size: int | None = said("FP32's tensor bytes.", kept=True)
    int8_share: Int8Share | None = said(kept=True)
    latency: Latency | None = said(kept=True)
    grid: tuple[TimedCell, ...] = said(
        "Latencies with other threads and samples in one call.", default=()
    )
    sqnr: float | None = said(
        "Of the outputs on the first eval batch against FP32's, in dB; null where not measured, or "
        "where they are equal.",
        kept=True, default=None,
    )  # fmt: skip
    explanation: Plain | None = said(default=None)
    remedy: Plain | None = said(default=None)
    slowness: Plain | None = said(default=None)
    tensors: Plain | None = said(default=None)
    work: Plain | None = said(default=None)
    seconds: Mapping[str, float | None] = said("What each stage took.")
    from_cache: tuple[str, ...] = said(
        "What an earlier run made of it: build, evaluation.", default=()
    )
    not_kept: str | None = said(
        "Why the cache keeps no build or no evaluation of it; null where it does, or where there is "
        "none.",
        default=None,
    )
    notes: tuple[str, ...]
    error: str | None = said("Why it could not be made or measured.")
    others: Plain = field(default_factory=dict)  # what a later version has added

    @classmethod
    def blank(cls, key: RowKey, error: str | None = None) -> "Row":
        """The row of a variant of which nothing was measured."""
        return cls(
            **key._asdict(), recipe=None, metrics=(), size=None, fp32_size=None, int8_share=None,
            latency=None, seconds={}, notes=(), error=error,
        )  # fmt: skip

    @classmethod
    def from_dict(cls, plain: Plain) -> "Row":
        """What `to_dict` wrote, or an earlier or later version of it.

        Raises:
            KeyError, TypeError: for what is no row; a report is held against its schema before.
        """
        return cls(
            **{
                **_known(cls, plain),
                "metrics": tuple(map(_metric, plain["metrics"])),
                "eval_set": _read(EvalSet, plain.get("eval_set")),
                "size": _read(Size, plain["size"]),
                "int8_share": _share(plain["int8_share"]),
                "latency": _latency(plain["latency"]),
                "grid": tuple(_timed_cell(each) for each in plain.get("grid", ())),
                "notes": tuple(plain["notes"]),
                "from_cache": tuple(plain.get("from_cache", ())),
                "seconds": dict(plain["seconds"]),
                "others": {name: plain[name] for name in plain.keys() - FIELDS},
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        found = {name: _plain(getattr(self, name)) for name in FIELDS_IN_ORDER}
        named = {name: found[name] for name in found if found[name] or name not in ADDED}
        return named | dict(self.others)

    @property
    def key(self) -> RowKey:
        """What identifies it."""
        return RowKey(self.where, self.model, self.variant, self.model_ids, self.variant_ids)

    @property
    def is_fp32(self) -> bool:
        """Whether it is the baseline of the comparison."""
        return self.variant == "fp32"

    @property
    def is_measured(self) -> bool:
        """Whether it has a number."""
        return bool(self.metrics or self.size or self.int8_share or self.latency)

    @property
    def kind(self) -> str | None:
        """Of its recipe; None for FP32 and where it is not known."""
        return (self.recipe or {}).get("kind")

    def joined(self, later: "Row") -> "Row":
        """One row of two of one variant, which two workers may have measured: the latter wins where
        it knows."""
        told = {
            name: value
            for name in FIELDS_IN_ORDER
            if (value := getattr(later, name)) not in (None, (), {})
        }
        notes = tuple(dict.fromkeys([*self.notes, *later.notes]))
        grid = {(cell.threads, cell.batch): cell for cell in (*self.grid, *later.grid)}
        told |= {"grid": tuple(grid.values()), "notes": notes}
        return replace(self, **{**told, "error": later.error or self.error})


FIELDS_IN_ORDER = tuple(part.name for part in fields(Row) if part.name != "others")
FIELDS = frozenset(FIELDS_IN_ORDER)


def kept(cls: type) -> tuple[str, ...]:
    """The fields of a Row, or of a MetricScore, that a baseline keeps."""
    return tuple(part.name for part in fields(cls) if part.metadata.get("kept"))


def _known(cls: Any, plain: Plain) -> dict[str, Any]:
    """The fields that a class has: without what a later version has added.

    Raises:
        KeyError: one that must be there is missing.
    """
    needed = [part.name for part in fields(cls) if part.default is part.default_factory is MISSING]
    optional = [part.name for part in fields(cls) if part.name in plain]
    return {name: plain[name] for name in [*needed, *optional]}


def _read(cls: Any, plain: Plain | None) -> Any:
    return None if plain is None else cls(**_known(cls, plain))


def _metric(plain: Plain) -> MetricScore:
    known = _known(MetricScore, plain)
    if (classes := known.get("classes")) is not None:
        known["classes"] = tuple(_read(ClassScore, each) for each in classes)
    if (slices := known.get("slices")) is not None:
        known["slices"] = tuple(_read(SliceScore, each) for each in slices)
    if (flips := known.get("worst_flips")) is not None:
        known["worst_flips"] = tuple(_read(FlippedSample, each) for each in flips)
    if (flipped := known.get("flipped")) is not None:
        known["flipped"] = tuple(flipped)
    return MetricScore(**known)


def _share(plain: Plain | None) -> Int8Share | None:
    if plain is None:
        return None
    return Int8Share(plain["parameters"], plain["macs"], tuple(plain.get("stayed_fp32", ())))


def _latency(plain: Plain | None) -> Latency | None:
    found: Latency | None = _read(Latency, plain)
    if found is not None and found.interval_95 is not None:
        found = replace(found, interval_95=tuple(found.interval_95))
    return found


def _timed_cell(plain: Plain) -> TimedCell:
    found: TimedCell = _read(TimedCell, plain)
    ends = found.interval_95
    return found if ends is None else replace(found, interval_95=tuple(ends))


def _ends(ends: tuple[float | None, ...] | None) -> tuple[float, float] | None:
    match ends:
        case (float() | int() as low, float() | int() as high):
            return low, high
    return None


def _plain(value: Any) -> Any:
    """A field as JSON types."""
    if hasattr(value, "__dataclass_fields__"):
        return {part.name: _plain(getattr(value, part.name)) for part in fields(value)}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value
