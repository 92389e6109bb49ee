"""Losses: where each variant loses accuracy, time and bytes, made ready for the page."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_quant.explain.lost.explanation import Explanation
from pytest_quant.explain.remedies.remedy import Remedy
from pytest_quant.report.document import Report
from pytest_quant.report.explained import Explained, explained_of
from pytest_quant.report.plots.layers import Layers, layers_of
from pytest_quant.report.plots.points import is_number
from pytest_quant.variant.measurements import MB

if TYPE_CHECKING:
    from pytest_quant.explain.size.size_cause import Tensors
    from pytest_quant.explain.speed.slowness import Slowness

MOST_VARIANTS = 24
MOST_OPERATORS, MOST_LINES = 8, 15  # of a table
OUTPUTS = {"whole": "all", "weights": "only the weights", "activations": "only the activations"}


class Table(NamedTuple):
    """A small table of the page; the first cell of a line is its head."""

    title: str
    caption: str
    heads: tuple[str, ...]
    right: tuple[int, ...]  # columns of numbers
    lines: list[tuple[str, ...]]
    left_out: int


class Loss(NamedTuple):
    """What the page shows of one variant."""

    model: str
    variant: str
    failed: bool
    sentences: list[str]
    remedy: Remedy | None
    effort: str
    layers: Layers | None
    caption: str
    tables: list[Table]
    notes: list[str]


def losses_of(report: Report) -> tuple[list[Loss], int]:
    """The first variants that were explained, those that FAILed before the others; how many are left."""
    found = explained_of(report)
    shown = [_loss(each, index) for index, each in enumerate(found[:MOST_VARIANTS])]
    return shown, len(found) - len(shown)


def _loss(each: Explained, index: int) -> Loss:
    explanation, layers = each.explanation, None
    if explanation is not None:
        title = f"{each.model} {each.variant}: share of the noise, layer by layer"
        layers = layers_of(explanation, f"layers-{index}", title)
    nouns = [noun for noun in (explanation, each.slowness, each.tensors) if noun is not None]
    return Loss(
        each.model,
        each.variant,
        each.failed,
        [
            *each.causes,
            *(
                sentence
                for noun in nouns
                for sentence in noun.sentences
                if not any(sentence in told for told in each.causes)
            ),
        ],
        each.remedy,
        _effort(each.remedy),
        layers,
        _caption(explanation, layers) if explanation and layers else "",
        [*_slow(each.slowness), *_large(each.tensors)],
        [note for noun in nouns for note in getattr(noun, "notes", ())],
    )


def _effort(remedy: Remedy | None) -> str:
    if remedy is None:
        return ""
    took = f", {remedy.seconds:.0f} s" if is_number(remedy.seconds) else ""
    return f"{_count(remedy.builds, 'build')}, {_count(remedy.evaluations, 'evaluation')}{took}"


def _count(number: Any, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _caption(explanation: Explanation, layers: Layers) -> str:
    of = (
        "Share of the noise that quantization adds to the model's output, of each layer by itself"
        if layers.measured
        else "No share is known of the noise in the model's output; the bars are each layer's own noise"
    )
    said = [f"{of}, on {_count(explanation.samples, 'sample')}"]
    said += ["SQNR is the layer's own signal to its noise: 40 dB is good, 20 dB is 1 % of noise"]
    if outputs := ", ".join(_outputs(explanation)):
        said.append(f"The model's output: {outputs}")
    return ". ".join(said) + "."


def _outputs(explanation: Explanation) -> Iterator[str]:
    for name, words in OUTPUTS.items():
        decibels = explanation.sqnr.get(name)
        if is_number(decibels):
            yield f"{decibels:.1f} dB with {words} quantized"


def _slow(slowness: "Slowness | None") -> Iterator[Table]:
    if slowness is None:
        return
    right = (2, 3, 4)
    heads = ("operator", "does", "calls", "ms", "share")
    batch = f"One call with {_count(slowness.batch, 'sample')}"
    for whose, operators, ms in (
        ("", slowness.operators, slowness.ms),
        ("FP32's time", slowness.fp32_operators, slowness.fp32_ms),
    ):
        took = f" takes {ms:.4g} ms" if is_number(ms) else ""
        said = "" if whose else _converted(slowness)
        lines: list[tuple[str, ...]] = [
            (
                each.name,
                each.does,
                f"{each.calls:.4g}",
                f"{each.ms:.3g}",
                f"{100 * each.share:.1f} %",
            )
            for each in operators
        ]
        if lines:
            yield _table(
                whose or "Time", f"{batch}{took}{said}.", heads, right, lines, MOST_OPERATORS
            )
    if slowness.stretches:
        lines = [
            tuple(map(", ".join, (s.after, s.operations, s.before))) for s in slowness.stretches
        ]
        said = "Where the variant leaves int8 for float and goes back; each costs two conversions."
        yield _table("Float between int8", said, ("after", "in float", "before"), (), lines)
    if slowness.stayed:
        lines = [(s.name, s.type, f"{100 * s.macs:.1f} %") for s in slowness.stayed]
        said = "Layers that stayed FP32, and their share of the multiply-adds."
        yield _table("Stayed FP32", said, ("layer", "type", "share"), (2,), lines)


def _large(tensors: "Tensors | None") -> Iterator[Table]:
    if tensors is None or not tensors.held:
        return
    whole = tensors.bytes or sum(held.bytes for held in tensors.held) or 1
    lines = [
        (held.layer or "no layer", held.type, held.dtype, _megabytes(held.bytes),
         f"{100 * held.bytes / whole:.1f} %")
        for held in tensors.held
    ]  # fmt: skip
    still = tensors.float_bytes
    said = f"{_megabytes(whole)} MB"
    said += "" if still is None else f", {_megabytes(still)} MB of it FP32"
    heads = ("layer", "type", "stored as", "MB", "share")
    yield _table("Largest tensors", f"All tensors: {said}.", heads, (3, 4), lines)


def _converted(slowness: "Slowness") -> str:
    if not slowness.conversions:
        return ""
    share = slowness.conversion_share
    of = f", {100 * share:.0f} % of it" if is_number(share) else ""
    return f"; {slowness.conversions:.4g} times it converts between float and int8{of}"


def _megabytes(count: int) -> str:
    return f"{count / MB:.2f}" if count >= MB / 100 or not count else f"{count / MB:.2g}"


def _table(
    title: str,
    caption: str,
    heads: tuple[str, ...],
    right: tuple[int, ...],
    lines: list[Any],
    most: int = MOST_LINES,
) -> Table:
    return Table(title, caption, heads, right, lines[:most], max(0, len(lines) - most))
