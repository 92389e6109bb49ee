"""Shift: are the inputs that a variant is tuned on other ones than those that judge it?

Each sample is one observation, so that a few hundred decide; and a difference has to be large, beside being
no chance, since augmentation, another season or other classes always make some.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, permutations
from statistics import NormalDist
from typing import Any

import numpy as np

from pytest_quant.subject.shift.kolmogorov import kolmogorov_smirnov
from pytest_quant.subject.shift.texts import Texts
from pytest_quant.subject.shift.traits import Traits, over_channels

ALPHA = 1e-3  # for one pair of sets; over all its tests by Bonferroni
LOCATION = 0.25  # standard deviations between samples
SPREAD = 1.5  # ratio of these
GRAIN = 0.2  # of the deviation within a sample: what lies closer together is the same
FEW = 4  # channels, of which every order is tried
CLOSER = 0.6  # of the distance, in the order that is meant
SHORT = 8  # whole numbers in a row: fewer are rather a table's columns than a text


@dataclass(frozen=True, slots=True, eq=False)
class Shift:
    """The input that differs most.

    Args:
        path: its place among the model's arguments; empty for the only one.
        tuned, judged: its traits in the data that tunes and in that which judges.
        effect: how far apart, in standard deviations between samples.
        reordered: whether the channels in another order would differ no more.
        texts: of ids; None of measured values.
    """

    path: str
    tuned: Traits
    judged: Traits
    effect: float
    reordered: bool = False
    texts: Texts | None = None


def shift_between(tuned: Mapping[str, Traits], judged: Mapping[str, Traits]) -> Shift | None:
    """The input that differs most between two sets; None where none does.

    Compared are mean and standard deviation of each channel of each sample, the columns of tables, and
    range and frequency of ids in texts: by Kolmogorov and Smirnov's test at `ALPHA` over all of them, and
    with a difference of a quarter of a standard deviation, or a ratio of spreads beyond 2/3 and 3/2.
    """
    pairs = [_Pair(path, tuned[path], judged[path]) for path in judged if path in tuned]
    if not pairs and len(tuned) == len(judged) == 1:  # one input, by name there and by place here
        ((path, own),), (other,) = judged.items(), tuned.values()
        pairs = [_Pair(path, other, own)]
    pairs = [pair for pair in pairs if not pair.is_mask or len(pairs) == 1]
    tests = sum(pair.tests for pair in pairs)
    found = [shift for pair in pairs if (shift := pair.shift(tests)) is not None]
    return max(found, key=lambda shift: shift.effect, default=None)


class _Pair:
    """One input in both sets."""

    def __init__(self, path: str, tuned: Traits, judged: Traits) -> None:
        self.path, self.tuned, self.judged = path, tuned, judged
        both = (tuned, judged)
        self.moments = [t.moments for t in both] if all(t.moments is not None for t in both) else []
        if self.moments and len({m.shape[1] for m in self.moments}) > 1:
            self.moments = [over_channels(m) for m in self.moments]
        columns = [t.columns for t in both if t.columns is not None]
        alike = len({c.shape[1] for c in columns}) == 1 and len(columns) == 2
        self.columns = columns if alike else []
        self.texts: Texts | None = None
        is_short = bool(self.columns) and self.columns[0].shape[1] < SHORT
        if tuned.texts and judged.texts and not is_short:
            self.texts = Texts.of(tuned.texts, judged.texts)
            self.columns = []  # the places in a text are no columns of a table

    @property
    def is_mask(self) -> bool:
        """Of zeros and ones, as an attention mask, of which there is more where batches are padded."""
        return all(t.counts and t.low >= 0 and t.high <= 1 for t in (self.tuned, self.judged))

    @property
    def tests(self) -> int:
        """How many there are."""
        return sum(one.shape[1] for one, _, _ in self._matrices())

    def _matrices(self, order: tuple[int, ...] | None = None) -> Iterator[tuple[Any, Any, Any]]:
        """What is compared, [n, tests] of both, and a grain for each test."""
        if self.moments:
            one, other = self.moments
            one = one if order is None else one[:, list(order)]
            grain = np.tile(GRAIN * np.maximum(other[..., 1].mean(0), 1e-9), 2)
            yield _features(one), _features(other), grain
            if _few(one):
                pairs = list(combinations(range(one.shape[1]), 2))
                grain = grain[0] * np.ones(len(pairs))
                yield _contrasts(one, pairs), _contrasts(other, pairs), grain
        if self.columns:
            one, other = self.columns
            yield one, other, 1e-3 * np.abs(other).mean(0) + 1e-12
        if self.texts is not None:
            yield self.texts.tuned, self.texts.judged, np.full(self.texts.judged.shape[1], 1e-6)

    def shift(self, tests: int) -> Shift | None:
        """The difference, if there is one; `tests` of all inputs."""
        if self._is_broken or (self.texts is not None and self.texts.is_padded_otherwise):
            return Shift(self.path, self.tuned, self.judged, np.inf, texts=self.texts)
        found = [_effect(*each, ALPHA / tests) for each in self._matrices()]
        if not any(found):
            return None
        reordered = False
        if self.moments and _few(self.moments[0]):
            reordered = found[1] > 0 and self._fits_reordered(tests)
            if not reordered:
                del found[1]  # contrasts serve to know the order by; colors vary for other reasons
        if not any(found):
            return None
        return Shift(self.path, self.tuned, self.judged, max(found), reordered, self.texts)

    @property
    def _is_broken(self) -> bool:
        """Whether inputs that are no numbers tune, and none judge."""
        one, other = self.tuned.broken, self.judged.broken
        return one is not None and other is not None and bool(one.any()) and not other.any()

    def _fits_reordered(self, tests: int) -> bool:
        """Whether in another order nothing differs, and channels lie far closer together; some order is
        always a bit closer than another."""
        orders = list(permutations(range(self.moments[0].shape[1])))[1:]
        best = min(orders, key=self._apart)
        if self._apart(best) > CLOSER * self._apart(None):
            return False
        return not any(_effect(*each, ALPHA / tests) for each in self._matrices(best))

    def _apart(self, order: tuple[int, ...] | None) -> float:
        """The largest distance of what tells channels from each other."""
        _, contrasts, *_ = self._matrices(order)
        return float(_apart(*contrasts)[0].max())


def _few(moments: Any) -> bool:
    return bool(2 <= moments.shape[1] <= FEW)


def _features(moments: Any) -> Any:
    return np.concatenate([moments[..., 0], moments[..., 1]], 1)


def _contrasts(moments: Any, pairs: list[tuple[int, int]]) -> Any:
    return np.stack([moments[:, i, 0] - moments[:, j, 0] for i, j in pairs], 1)


def _effect(tuned: Any, judged: Any, grain: Any, alpha: float) -> float:
    """The largest difference that is both clear and no chance; 0 where there is none.

    That the distributions differ is no word on where: noise that was added to whole numbers shows, and
    changes nothing. So location or spread have to differ by more than chance too.
    """
    if min(len(tuned), len(judged)) < 2:
        return 0.0
    apart, ratio = _apart(tuned, judged, grain)
    away, own_away = (np.abs(each - np.median(each, 0)) for each in (tuned, judged))
    clear = (apart > LOCATION) & _differ(tuned, judged, alpha)
    clear |= (ratio > SPREAD) & _differ(away, own_away, alpha)
    if not clear.any():
        return 0.0
    sure = np.zeros(len(clear), bool)
    sure[clear] = kolmogorov_smirnov(tuned[:, clear], judged[:, clear]) < alpha
    return float(np.where(sure, apart + np.log(ratio), 0.0).max())


def _apart(tuned: Any, judged: Any, grain: Any) -> tuple[Any, Any]:
    """Distance of the means in standard deviations between samples, and ratio of these, at least 1."""
    spread, own = (np.hypot(each.std(0, ddof=1), grain) for each in (tuned, judged))
    apart = np.abs(tuned.mean(0) - judged.mean(0)) / np.sqrt((spread**2 + own**2) / 2)
    return apart, np.maximum(spread / own, own / spread)


def _differ(one: Any, other: Any, alpha: float) -> Any:
    """Whether the means of columns differ by more than chance, as Welch's test has it of many samples."""
    error = np.sqrt(one.var(0) / len(one) + other.var(0) / len(other))
    limit = NormalDist().inv_cdf(1 - alpha / 2)
    return np.abs(one.mean(0) - other.mean(0)) > limit * error
