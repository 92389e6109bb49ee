"""k-means on a line: against brute force, against theory, and at its edges."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_quant.quantize.weights.kmeans import POINTS, kmeans, nearest

small = st.lists(
    st.floats(-100, 100, width=16).map(lambda x: x + 0.0), min_size=1, max_size=9
)  # + 0.0 makes 0.0 of -0.0


def squared_error(values, centroids):
    return float(((values - centroids[nearest(values, centroids)]) ** 2).sum())


def least_by_brute_force(values, clusters):
    """Of all ways to cut the sorted values into at most so many runs."""
    ordered = np.sort(values.astype(np.float64))
    places, least = range(1, len(ordered)), np.inf
    for cuts in combinations(places, min(clusters, len(ordered)) - 1):
        runs = np.split(ordered, cuts)
        least = min(least, sum(((run - run.mean()) ** 2).sum() for run in runs))
    return float(least)


@given(small, st.integers(1, 5))
def test_it_is_as_good_as_the_best_of_all_clusterings(values, clusters):
    values = np.array(values, dtype=np.float32)
    own = squared_error(values, kmeans(values, clusters))
    assert own == pytest.approx(least_by_brute_force(values, clusters), rel=1e-6, abs=1e-9)


@given(small, st.integers(1, 5))
def test_each_value_goes_to_the_nearest_centroid(values, clusters):
    values = np.array(values, dtype=np.float32)
    centroids = kmeans(values, clusters)
    away = np.abs(values[:, None].astype(np.float64) - centroids)
    own = away[np.arange(len(values)), nearest(values, centroids)]
    assert own == pytest.approx(away.min(axis=1))


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
@example([0.0, -1.401298464324817e-45])
def test_no_more_distinct_values_than_clusters_are_kept_exactly(values):
    values = np.array(values, dtype=np.float32)
    clusters = len(np.unique(values))
    centroids = kmeans(values, clusters).astype(np.float32)
    assert (centroids[nearest(values, centroids)] == values).all()


def test_what_is_missing_to_the_number_of_clusters_repeats_the_last_value():
    assert kmeans(np.array([3, 1, 3, 2], dtype=np.float32), 5).tolist() == [1, 2, 3, 3, 3]


@pytest.mark.parametrize(("clusters", "decibels"), [(4, 9.30), (16, 20.22)])
def test_of_normal_values_it_is_the_best_quantizer_there_is(clusters, decibels):
    # Max, "Quantizing for minimum distortion" (1960), table I
    values = np.random.default_rng(0).normal(size=200_000).astype(np.float32)
    error = squared_error(values, kmeans(values, clusters))
    assert 10 * np.log10((values.astype(float) ** 2).sum() / error) == pytest.approx(
        decibels, abs=0.1
    )


def test_an_outlier_takes_a_centroid_and_not_all_of_them():
    values = np.random.default_rng(0).normal(size=20_000).astype(np.float32)
    with_outliers = np.append(values, np.float32([1e4, -3e3]))
    centroids = kmeans(with_outliers, 256)
    assert (np.diff(centroids) >= 0).all()
    assert centroids[[0, -1]].tolist() == [-3e3, 1e4]
    assert squared_error(values, centroids) < 1.1 * squared_error(values, kmeans(values, 254))


def test_the_same_values_in_another_order_give_the_same_centroids():
    values = np.random.default_rng(0).standard_t(3, size=5 * POINTS).astype(np.float32)
    assert (kmeans(values, 16) == kmeans(values[::-1], 16)).all()


def test_of_many_values_each_centroid_is_the_mean_of_its_own():
    values = np.random.default_rng(0).standard_t(3, size=5 * POINTS)
    centroids = kmeans(values, 8)
    own = nearest(values, centroids)
    assert centroids == pytest.approx([values[own == i].mean() for i in range(8)])
