"""Texts: what is compared of sequences of ids; the unit is the text."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

COMMON = 32  # ids, the commonest of both sets
SOME = 0.1  # of the texts end so; fewer do by chance
MOST = 0.5  # of the texts
SIZES = 3  # columns that say how large the ids of a text are
LEAST_RUN = 2  # times the same id at an end of a text: padding


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """Of two sets.

    Args:
        tuned, judged: [texts, tests]: logarithm of the mean, lowest and highest id, and the share of the
            commonest ids.
        ranges: lowest and highest id of both, without padding.
        commonest: the ids that are commonest in each, first those of the set that tunes.
        common: the ids whose shares are compared, the commonest of both sets together.
        paddings: the id that each set is padded with; None without.
        padded: the share of the texts that are padded, of each set.
        is_constant: whether the texts of the set that tunes are one id each.
    """

    tuned: Any
    judged: Any
    ranges: tuple[tuple[int, int], tuple[int, int]]
    commonest: tuple[tuple[int, ...], tuple[int, ...]]
    common: tuple[int, ...]
    paddings: tuple[int | None, int | None]
    padded: tuple[float, float]
    is_constant: bool

    @property
    def furthest_id(self) -> tuple[int, float, float]:
        """The common id whose share of a text differs most, and its mean share in both sets."""
        one, other = (table[:, SIZES:].mean(0) for table in (self.tuned, self.judged))
        place = int(np.abs(one - other).argmax())
        return self.common[place], float(one[place]), float(other[place])

    @property
    def is_padded_otherwise(self) -> bool:
        """Whether both sets are padded, most of their texts, and with another id each."""
        return min(self.padded) > MOST and self.paddings[0] != self.paddings[1]

    @classmethod
    def of(cls, tuned: list[Any], judged: list[Any]) -> "Texts":
        """Of the ids of each text, padding included, which is left out: there is more of it in larger
        batches."""
        found = _padding(tuned), _padding(judged)
        paddings = found[0][0], found[1][0]
        sets = [
            [_without(ids, own) for ids in texts]
            for texts, own in zip((tuned, judged), paddings, strict=True)
        ]
        counts = [_shares(texts) for texts in sets]
        common = [i for i, _ in (counts[0] + counts[1]).most_common(COMMON)]
        tables = [np.stack([_row(ids, common) for ids in texts]) for texts in sets]
        (low, high), (own_low, own_high) = (
            (int(min(ids.min() for ids in texts)), int(max(ids.max() for ids in texts)))
            for texts in sets
        )
        first, second = (tuple(i for i, _ in count.most_common(3)) for count in counts)
        is_constant = all(len(ids) > 1 and (ids == ids[0]).all() for ids in tuned)
        return cls(
            tables[0],
            tables[1],
            ((low, high), (own_low, own_high)),
            (first, second),
            tuple(common),
            paddings,
            (found[0][1], found[1][1]),
            is_constant,
        )


def _padding(texts: list[Any]) -> tuple[int | None, float]:
    """The id that most often ends or begins a text several times in a row, and in what share of them."""
    ends: Counter[int] = Counter()
    for ids in texts:
        for end in (ids, ids[::-1]):
            if len(end) >= LEAST_RUN and (end[-LEAST_RUN:] == end[-1]).all():
                ends[int(end[-1])] += 1
    if not ends:
        return None, 0.0
    (padding, count), *_ = ends.most_common(1)
    if count < SOME * len(texts):
        return None, 0.0
    return padding, min(1.0, count / len(texts))


def _without(ids: Any, padding: int | None) -> Any:
    """A text without the padding at its ends; of one that is nothing else, one id of it."""
    own = np.flatnonzero(ids != padding) if padding is not None else np.arange(len(ids))
    return ids[own[0] : own[-1] + 1] if len(own) else ids[:1]


def _shares(texts: list[Any]) -> Any:
    """Each id's mean share of a text."""
    total: Any = Counter()
    for ids in texts:
        found, counts = np.unique(ids, return_counts=True)
        for each, count in zip(found.tolist(), counts.tolist(), strict=True):
            total[each] += count / len(ids) / len(texts)
    return total


def _row(ids: Any, common: list[int]) -> Any:
    sizes = np.log1p(np.abs(np.array([ids.mean(), ids.min(), ids.max()], np.float64)))
    return np.concatenate([sizes, (ids[:, None] == np.array(common)).mean(0)])
