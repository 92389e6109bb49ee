"""Likeness: what a difference between two sets of inputs looks like, as a sentence that asks."""

import math
from typing import Any

import numpy as np

from pytest_quant.subject.shift.shift import Shift
from pytest_quant.subject.shift.texts import Texts
from pytest_quant.subject.shift.traits import Traits

BYTES = 255.0
NEAR = 0.35  # relative: figures of a few hundred samples that may agree
SAMPLED = 0.06  # by which a scale may be off when it is seen in a few hundred samples
CLEAR = 0.15  # of the range: by which it differs, so that it is worth naming
UNIT = 1.05  # largest value of what lies in 0 to 1
CONSTANT = 0.5  # share of the samples
FEW_DISTINCT = 0.5  # share of the samples
BORDER = 0.2  # of a sample's values, more than in the other set


def likeness(shift: Shift, tuned: str, judged: str = "eval inputs") -> str:
    """Half a sentence: what the inputs are and a question for what may have been done to them.

    ``calibration inputs span 0 to 1, eval inputs -2.1 to 2.6: not normalised?``

    Args:
        shift: between the two.
        tuned, judged: what they are called.
    """
    if shift.path:
        tuned = f"{tuned} {shift.path}"
    if shift.texts is None and (broken := _share(shift.tuned.broken)) > _share(shift.judged.broken):
        percent = max(1, round(100 * broken))
        return f"{percent} % of {tuned} hold NaN or infinity, none of {judged}: missing values?"
    if shift.texts is not None:
        return _of_texts(shift.texts, tuned, judged)
    one, other = _Values(shift.tuned), _Values(shift.judged)
    if one.low == one.high:
        return f"{tuned} are all {shown(one.low)}, {judged} span {other.span}: a placeholder?"
    if one.constant > CONSTANT > other.constant:
        return (
            f"{100 * one.constant:.0f} % of {tuned} are one value throughout, of {judged} "
            f"{100 * other.constant:.0f} %: padding, or images that could not be read?"
        )
    if one.distinct < FEW_DISTINCT < other.distinct:
        return (
            f"of {tuned} only {round(one.distinct * one.count)} of {one.count} are distinct, of {judged} "
            f"{round(other.distinct * other.count)} of {other.count}: the same ones again and again?"
        )
    if shift.reordered:
        return (
            f"{tuned} have channels of mean {one.means}, {judged} {other.means}: channels in "
            "another order (RGB and BGR)?"
        )
    question = _question(one, other)
    if one.has_another_range_than(other):
        return f"{tuned} span {one.span}, {judged} {other.span}: {question}?"
    if (channel := one.empty_beside(other)) is not None:
        return f"channel {channel} of {tuned} is {shown(one.mean[channel])} throughout: left out?"
    if one.border > other.border + BORDER:
        return (
            f"{100 * one.border:.0f} % of the values in {tuned} are their border's, in {judged} "
            f"{100 * other.border:.0f} %: padded with a constant?"
        )
    means, own = one.told_beside(other)
    return f"{tuned} have {means}, {judged} {own}: {question}?"


class _Values:
    """Measured values of a set: range, and mean and deviation of each channel or column."""

    def __init__(self, traits: Traits) -> None:
        self.low, self.high = traits.low, traits.high
        self.constant = self.border = 0.0
        self.count = len(traits)
        known = traits.columns if traits.moments is None else traits.moments
        self.distinct = len(np.unique(known.reshape(self.count, -1), axis=0)) / self.count
        if traits.moments is not None:
            mean, deviation = traits.moments[..., 0], traits.moments[..., 1]
            self.mean = mean.mean(0)
            self.deviation = np.sqrt((deviation**2).mean(0) + mean.var(0))
            self.constant = float((deviation.max(1) <= 1e-6 * np.abs(mean).max(1)).mean())
            self.border = float(traits.moments[..., 2].mean())
        else:
            self.mean, self.deviation = traits.columns.mean(0), traits.columns.std(0)

    @property
    def span(self) -> str:
        """The range, with two digits of its width."""
        width = self.high - self.low
        places = max(0, 1 - math.floor(math.log10(width))) if 0 < width < math.inf else 2
        low, high = (round(end, places) + 0.0 for end in (self.low, self.high))
        return f"{shown(low)} to {shown(high)}"

    @property
    def means(self) -> str:
        return ", ".join(shown(mean) for mean in self.mean)

    @property
    def is_unit(self) -> bool:
        """Whether it lies in 0 to 1 and fills it."""
        return self.low >= -0.02 and 0.4 < self.high <= UNIT

    @property
    def is_bytes(self) -> bool:
        """Whether it looks like pixels of 0 to 255."""
        return self.low >= -0.02 * BYTES and 0.4 * BYTES < self.high <= UNIT * BYTES

    @property
    def is_standard(self) -> bool:
        """Whether mean and deviation are near 0 and 1."""
        return bool(np.abs(self.mean).mean() < 0.5 and 0.6 < self.deviation.mean() < 1.6)

    def empty_beside(self, other: "_Values") -> int | None:
        """The first channel that is one value in this set, and not in the other."""
        if self.mean.shape != other.mean.shape:
            return None
        least = 0.1 * other.deviation.max()  # a column may be empty by chance
        empty = (self.deviation <= 1e-6 * np.abs(self.mean)) & (other.deviation > least)
        return int(empty.argmax()) if empty.any() else None

    def has_another_range_than(self, other: "_Values") -> bool:
        apart = abs(self.low - other.low) + abs(self.high - other.high)
        return apart > CLEAR * max(self.high - self.low, other.high - other.low)

    def told_beside(self, other: "_Values") -> tuple[str, str]:
        """Mean and deviation of both where they differ most."""
        if self.mean.shape != other.mean.shape:
            pair = [each.mean.mean() for each in (self, other)]
            return f"mean {shown(pair[0])}", f"{shown(pair[1])}"
        spread = np.maximum(self.deviation, other.deviation) + 1e-12
        apart = np.abs(self.mean - other.mean) / spread
        apart += np.abs(np.log((self.deviation + 1e-12) / (other.deviation + 1e-12)))
        at = int(apart.argmax())
        where = f" in channel {at}" if len(self.mean) > 1 else ""
        return (
            f"mean {shown(self.mean[at])} and deviation {shown(self.deviation[at])}{where}",
            f"{shown(other.mean[at])} and {shown(other.deviation[at])}",
        )


def _question(one: _Values, other: _Values) -> str:
    """What may have been done to the first set, or left undone."""
    if one.is_bytes and not other.is_bytes and other.high < one.high / 4:
        return "0 to 255 in place of 0 to 1" if other.is_unit else "not normalised (0 to 255)"
    if other.is_bytes and not one.is_bytes and one.high < other.high / 4:
        return "scaled or normalised, which eval inputs are not"
    if one.is_unit and other.low < -0.05:
        return "not normalised"
    if other.is_unit and one.low < -0.05 and one.is_standard:
        return "normalised, which eval inputs are not"
    if one.mean.shape == other.mean.shape:
        if _is_twice(one, other):
            return "normalised twice"
        if _is_twice(other, one):
            return "eval inputs normalised twice"
        if (scale := _scale(one, other)) is not None:
            return f"{scale} times the scale"
        if _is_inverted(one, other):
            return "inverted"
    if other.is_standard and not one.is_standard:
        return "not normalised" if one.mean.sum() >= 0 else "normalised twice, or not at all"
    if one.is_standard and not other.is_standard:
        return "normalised, which eval inputs are not"
    return "other data, or prepared in another way"


def _is_twice(one: _Values, other: _Values) -> bool:
    """Whether the map that made `other` of values in 0 to 1 was applied to it once more: its slope and
    offset follow from both sets, and say where it put 0 and 1."""
    slope = one.deviation / np.maximum(other.deviation, 1e-12)
    offset = one.mean - slope * other.mean
    slope, offset = float(slope.mean()), float(offset.mean())
    if not (1.2 < slope < 30 and offset < 0):
        return False
    width = other.high - other.low
    return abs(other.low - offset) < 0.25 * width and abs(other.high - offset - slope) < 0.4 * width


def _scale(one: _Values, other: _Values) -> str | None:
    """How many times the other set this one is, if it is; as text."""
    slopes = one.deviation / np.maximum(other.deviation, 1e-12)
    slope = float(np.median(slopes))
    offset = one.mean - slope * other.mean
    alike = np.abs(slopes / slope - 1) < NEAR if slope else np.zeros(1, bool)
    near = np.abs(offset) < NEAR * np.maximum(one.deviation, np.abs(one.mean)) + 1e-12
    if alike.mean() < 0.8 or near.mean() < 0.8 or 0.75 < slope < 1.33:
        return None
    rounded = float(f"{slope:.1g}")
    return shown(rounded if abs(slope / rounded - 1) < SAMPLED else slope)


def _is_inverted(one: _Values, other: _Values) -> bool:
    """Whether light is dark here."""
    mirrored = other.low + other.high - other.mean
    alike = np.abs(one.deviation / np.maximum(other.deviation, 1e-12) - 1) < 0.2
    near = np.abs(one.mean - mirrored) < 0.2 * np.maximum(other.deviation, 1e-12)
    far = np.abs(one.mean - other.mean) > 0.5 * np.maximum(other.deviation, 1e-12)
    return bool((alike & near).all() and far.any())


def _share(marks: Any) -> float:
    return 0.0 if marks is None else float(marks.mean())


def _of_texts(texts: Texts, tuned: str, judged: str) -> str:
    (low, high), (own_low, own_high) = texts.ranges
    if texts.is_padded_otherwise:
        one, other = texts.paddings
        return (
            f"texts of {tuned} are padded with {one}, of {judged} with {other}: another tokenizer?"
        )
    if texts.is_constant:
        only = texts.commonest[0][0] if low == high else "several"
        return (
            f"{tuned} are texts of one id each ({only}), {judged} hold {own_low} to {own_high}: "
            "padding?"
        )
    if abs(low - own_low) + abs(high - own_high) > CLEAR * max(own_high - own_low, high - low, 1):
        return (
            f"ids of {tuned} span {low} to {high}, of {judged} {own_low} to {own_high}: another "
            "vocabulary?"
        )
    if {*texts.commonest[0]} == {*texts.commonest[1]}:
        found, share, own_share = texts.furthest_id
        return (
            f"id {found} makes up {100 * share:.1f} % of a text of {tuned}, {100 * own_share:.1f} % of "
            f"{judged}: other texts?"
        )
    first, second = (", ".join(map(str, ids)) for ids in texts.commonest)
    return (
        f"the commonest ids of {tuned} are {first}, of {judged} {second}: another vocabulary, or "
        "other texts?"
    )


def shown(value: Any) -> str:
    """A figure with two or three digits that count."""
    value = float(value)
    if abs(value) < 1:
        return f"{value:.2g}".replace("-0", "0") if value == 0 else f"{value:.2g}"
    if abs(value) < 100:
        return f"{value:.1f}".removesuffix(".0")
    return f"{value:.0f}" if abs(value) < 1e6 else f"{value:.3g}"
