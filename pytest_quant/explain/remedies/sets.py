"""Sets: the smallest one of layers that makes a check pass, with few checks."""

from collections.abc import Callable, Mapping, Sequence


def passing_sets(
    order: Sequence[str],
    passes: Callable[[tuple[str, ...]], bool],
    *,
    costs: Mapping[str, float],
    most: int,
) -> list[tuple[str, ...]]:
    """Sets of layers that make the check pass, each smaller than the one before; the last is the
    smallest that was found, and none of its layers can be left out.

    First prefixes of the order, doubled until one passes, then bisected; then each layer of the prefix
    is tried without, the most costly first. About 2 log2(k) + k checks for k layers that are needed,
    where one at a time takes as many as there are layers. Each set has passed, whether or not the check
    is monotone.

    Args:
        order: layers, those first that are likely to matter most.
        passes: whether the check passes with these kept; may raise to stop the search.
        costs: of keeping a layer.
        most: layers to keep, at most.

    Returns:
        The sets, with their layers in order; empty when no prefix of `most` layers passes.
    """
    known: dict[frozenset[str], bool] = {}
    passed: list[tuple[str, ...]] = []

    def check(layers: Sequence[str]) -> bool:
        key = frozenset(layers)
        if key not in known:
            known[key] = passes(tuple(layers))
            if known[key]:
                passed.append(tuple(layers))
        return known[key]

    most = min(most, len(order))
    failed, size = 0, 1
    while size <= most and not check(order[:size]):
        failed = size
        if size == most:
            return []
        size = min(2 * size, most)
    if not most:
        return []
    while size - failed > 1:
        middle = (failed + size) // 2
        if check(order[:middle]):
            size = middle
        else:
            failed = middle
    chosen = list(order[:size])
    for layer in sorted(chosen, key=lambda name: -costs.get(name, 0.0)):
        fewer = [name for name in chosen if name != layer]
        if fewer and check(fewer):
            chosen = fewer
    return passed
