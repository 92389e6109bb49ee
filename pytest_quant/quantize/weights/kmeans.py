"""k-means of numbers on a line, deterministic: the centroids with the least squared error."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

POINTS = 512  # up to which the best clusters are searched exactly
TRIMS = 10  # of the widest gaps, beyond which an outlier's matters no more
PASSES = 200  # of Lloyd's algorithm at most; it stands still long before for few clusters
# The squared error of a fine quantizer is least where centroids lie as densely as the cube root of
# the values does (Panter and Dite, "Quantization distortion in pulse-count modulation", 1951). Summed
# over a line, a density's cube root is the sum of the gaps between values to the power 2/3.
COMPANDING = 2 / 3


def kmeans(values: Array, clusters: int) -> Array:
    """Centroids whose nearest values have the least sum of squared distances.

    Up to `POINTS` distinct values it is the least there is. More are first gathered into as many
    groups of neighbours; the best clusters of these then start Lloyd's algorithm on the values.

    Args:
        values: [n] with n > 0, finite.
        clusters: how many centroids.

    Returns:
        [clusters] float64, rising. With no more distinct values than clusters these are the
        values, the last one repeated.
    """
    ordered = np.sort(values).astype(np.float64)
    points, starts = np.unique(ordered, return_index=True)
    if len(points) <= clusters:
        return np.pad(points, (0, clusters - len(points)), mode="edge")
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    if len(points) <= POINTS:
        bounds = np.append(starts, len(ordered))
        return _means(sums, bounds[_best(ordered, bounds, clusters)])
    bounds = _neighbours(ordered)
    groups = min(clusters, len(bounds) - 1)
    centroids = _means(sums, bounds[_best(ordered, bounds, groups)])
    centroids = np.pad(centroids, (0, clusters - groups), mode="edge")
    before = None
    for _ in range(PASSES):
        cuts = np.searchsorted(ordered, _between(centroids))
        if before is not None and np.array_equal(cuts, before):
            break
        before = cuts
        moved = _means(sums, np.concatenate([[0], cuts, [len(ordered)]]))
        centroids = np.where(np.isnan(moved), centroids, moved)
    return centroids


def nearest(values: Array, centroids: Array) -> Array:
    """The index of each value's nearest centroid, of centroids as `kmeans` gives them."""
    return np.searchsorted(_between(centroids), values.astype(np.float64)).astype(np.uint8)


def _between(centroids: Array) -> Array:
    wide = centroids.astype(np.float64)  # half of the least float32 would be zero
    return (wide[1:] + wide[:-1]) / 2


def _means(sums: Array, bounds: Array) -> Array:
    """Means of the ordered values from each bound to the next; NaN for none."""
    with np.errstate(invalid="ignore"):
        return np.diff(sums[bounds]) / np.diff(bounds)


def _neighbours(ordered: Array) -> Array:
    """Bounds of at most `POINTS` groups of ordered values, finer where more depends on it."""
    gaps = np.diff(ordered) ** COMPANDING
    for _ in range(TRIMS):
        gaps = np.minimum(gaps, gaps.sum() / POINTS)  # no gap has room for more than one bound
    along = np.concatenate([[0.0], np.cumsum(gaps)])
    cuts = np.searchsorted(along, np.linspace(0, along[-1], POINTS + 1)[1:-1])
    return np.unique(np.concatenate([[0], cuts, [len(ordered)]]))


def _best(ordered: Array, bounds: Array, clusters: int) -> Array:
    """Which of the bounds part the groups into the best clusters, by dynamic programming.

    The clusters of values on a line are intervals, so the best c clusters of the first j groups are
    the best c - 1 of the first i and one of the rest (Wang and Song, "Ckmeans.1d.dp", 2011).
    """
    centred = ordered - ordered.mean()  # sums of squares then lose the fewest digits
    first = np.concatenate([[0.0], np.cumsum(centred)])[bounds]
    second = np.concatenate([[0.0], np.cumsum(centred**2)])[bounds]
    count = np.subtract.outer(bounds, bounds).astype(np.float64)  # [to, from]
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.subtract.outer(second, second) - np.subtract.outer(first, first) ** 2 / count
    error = np.where(count > 0, np.maximum(error, 0.0), np.inf)
    least, choices = error[:, 0], []
    total, to = np.empty_like(error), np.arange(len(bounds))
    for _ in range(clusters - 1):
        np.add(error, least, out=total)
        choices.append(total.argmin(axis=1))
        least = total[to, choices[-1]]
    cuts = [len(bounds) - 1]
    for choice in reversed(choices):
        cuts.append(int(choice[cuts[-1]]))
    return np.array([0, *reversed(cuts)])
