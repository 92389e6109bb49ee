"""Naming: which input or output of a file is which of a call's tensors, by their names."""

from collections.abc import Sequence


def by_name(wanted: Sequence[str | None], names: Sequence[str | None]) -> list[int | None]:
    """For each name the place of the same one; else of the only one that is the same but for what
    exporters put around it; None for none."""
    found: list[int | None] = [None] * len(wanted)
    for told in (str, _plain):
        ours, theirs = [[told(name or "") for name in each] for each in (wanted, names)]
        for place, name in enumerate(ours):
            if name and found[place] is None and ours.count(name) == theirs.count(name) == 1:
                found[place] = theirs.index(name)
    return found


def ways(named: Sequence[int | None], count: int) -> list[tuple[int, ...]]:
    """Places of which some were found by name: the others in order, of so many; then all in order."""
    left = iter(place for place in range(count) if place not in named)
    mixed = tuple(next(left) if place is None else place for place in named)
    return list(dict.fromkeys([mixed, tuple(range(len(named)))])) if None in named else [mixed]


def _plain(name: str | None) -> str:
    """A name without what exporters put around it: ``serving_default_x:0`` is ``x``."""
    return (name or "").split(":")[0].removeprefix("serving_default_").lower()
