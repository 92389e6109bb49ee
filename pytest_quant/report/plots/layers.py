"""Layers: what each costs, in the order of the network, as bars of the page; no matplotlib is needed.

All layers together are a strip of upright bars; those that cost most are the lines of a table, with
the layers between them summed up, so that 300 layers read as well as five.
"""

from html import escape
from typing import NamedTuple

from pytest_quant.explain.lost.explanation import Explanation
from pytest_quant.explain.lost.layer import Layer
from pytest_quant.report.plots.points import is_number
from pytest_quant.report.text import clipped

MOST_LISTED = 24  # layers of a table; of a longer network the worst
WORST = 15  # of a longer network
MOST_MARKED = 5
MOST_BARS = 1000  # of a strip, which has about as many pixels
HALF = 0.5  # of the noise: the fewest layers that make so much of it are marked
STANDS_OUT = 1.5  # times an equal part
BESIDE = 0.2  # of the worst: what is smaller is not marked beside it
HEIGHT = 100


class Line(NamedTuple):
    """One layer of the table, or (without a position) those between two that are listed."""

    position: str  # in the network, from 1
    name: str
    type: str
    width: float  # of the bar, in per cent of the longest
    share: str
    sqnr: str
    faults: str
    marked: bool


class Layers(NamedTuple):
    """The layers of one explanation.

    Args:
        lines: of the table, in the order of the network.
        strip: the SVG of all layers; empty where the table has them all.
        measured: whether shares are of the noise in the model's output, and not of each layer's own.
        total: how many there are.
    """

    lines: list[Line]
    strip: str
    measured: bool
    total: int


def layers_of(explanation: Explanation, name: str, title: str) -> Layers | None:
    """The layers as they are drawn; None without any.

    Args:
        explanation: of one variant.
        name: for the ids of the strip.
        title: for those who do not see the strip: what it shows.
    """
    layers = explanation.layers
    if not layers:
        return None
    measured = any(is_number(layer.share) for layer in layers)
    shares = [_share(layer) for layer in layers] if measured else _own_noise(layers)
    position = {id(layer): index for index, layer in enumerate(layers)}
    ranked = [position[id(layer)] for layer in explanation.ranked]
    marked = _marked(ranked, shares)
    long = len(layers) > MOST_LISTED
    listed = set(ranked[:WORST]) if long else set(ranked)
    longest = max(shares) or 1.0
    lines, between = [], []
    for index, layer in enumerate(layers):
        if index not in listed:
            between.append(shares[index])
            continue
        if between:
            lines.append(_gap(between))
            between = []
        faults = "; ".join(layer.words)
        shown = _percent(shares[index]) if measured and is_number(layer.share) else "-"
        width = 100 * shares[index] / longest
        called = layer.name or "the model itself"
        lines.append(Line(str(index + 1), called, layer.type, width, shown, _decibels(layer.sqnr),
                          faults, index in marked))  # fmt: skip
    if between:
        lines.append(_gap(between))
    strip = _strip(name, title, layers, shares, marked) if long else ""
    return Layers(lines, strip, measured, len(layers))


def _share(layer: Layer) -> float:
    return min(1.0, max(0.0, layer.share)) if is_number(layer.share) else 0.0


def _own_noise(layers: tuple[Layer, ...]) -> list[float]:
    """Each layer's own noise to signal as a part of their sum, where the effect is not known."""
    own = [10 ** (-min(200.0, max(-200.0, layer.sqnr or 0)) / 10) if is_number(layer.sqnr) else 0.0
           for layer in layers]  # fmt: skip
    total = sum(own)
    return [each / total for each in own] if total else own


def _marked(ranked: list[int], shares: list[float]) -> set[int]:
    """The fewest layers that make half of the noise, as far as they stand out."""
    found: set[int] = set()
    covered = 0.0
    least = max(STANDS_OUT / len(shares), BESIDE * max(shares))
    for index in ranked[:MOST_MARKED]:
        if covered >= HALF or shares[index] < least:
            break
        found.add(index)
        covered += shares[index]
    return found


def _gap(between: list[float]) -> Line:
    count = len(between)
    name = "... 1 layer" if count == 1 else f"... {count} layers"
    return Line("", name, "", 0.0, _percent(sum(between)), "", "", False)


def _strip(
    name: str, title: str, layers: tuple[Layer, ...], shares: list[float], marked: set[int]
) -> str:
    """All layers as upright bars from left to right; the page stretches it to its own width."""
    drawn, longest = shares[:MOST_BARS], max(shares) or 1.0
    bars = []
    for index, share in enumerate(drawn):
        height = max(1.0, HEIGHT * share / longest)
        kind = "worst" if index in marked else "bar"
        bars.append(
            f'<rect class="{kind}" x="{10 * index + 1}" y="{HEIGHT - height:.2f}" width="8" '
            f'height="{height:.2f}"/>'
        )
    said = "; ".join(f"{layers[index].name}: {_percent(shares[index])}" for index in sorted(marked))
    rest = f"; the first {MOST_BARS} are drawn" if len(shares) > MOST_BARS else ""
    description = f"{len(shares)} layers{rest}; {said or 'none stands out'}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="strip" preserveAspectRatio="none" '
        f'viewBox="0 0 {10 * len(drawn)} {HEIGHT}" role="img" '
        f'aria-labelledby="{name}-title {name}-description">'
        f'<title id="{name}-title">{escape(clipped(title, 200))}</title>'
        f'<desc id="{name}-description">{escape(clipped(description, 2000))}</desc>'
        f"{''.join(bars)}</svg>"
    )


def _percent(share: float) -> str:
    shown = 100 * share
    return (
        f"{shown:.0f} %"
        if shown >= 9.5 or not shown
        else f"{shown:.1f} %"
        if shown >= 0.1
        else "< 0.1 %"
    )


def _decibels(sqnr: float | None) -> str:
    return f"{sqnr:.1f} dB" if is_number(sqnr) else "-"
