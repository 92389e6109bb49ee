"""Exact tails: what SciPy gives, for small and large counts, and Holm's steps by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pytest_quant.judge.exact_tails import drawn_tail, holm, shown_chance, sign_tail

COUNTS = [(0, 0), (1, 0), (0, 1), (5, 5), (30, 2), (7, 40), (900, 850), (30_000, 29_000)]


@pytest.mark.parametrize(("lost", "won"), COUNTS)
def test_the_sign_test_is_scipys(lost, won):
    expected = 1.0
    if lost + won:
        expected = stats.binomtest(lost, lost + won, 0.5, alternative="greater").pvalue
    assert sign_tail(lost, won) == pytest.approx(expected, rel=1e-8)


def test_by_hand():
    """Five heads of five; four or five of five."""
    assert sign_tail(5, 0) == pytest.approx(1 / 32, rel=1e-12)
    assert sign_tail(4, 1) == pytest.approx(6 / 32, rel=1e-12)
    assert drawn_tail(1, 1, 1, 4) == pytest.approx(1 / 4, rel=1e-12)
    assert drawn_tail(2, 2, 2, 4) == pytest.approx(1 / 6, rel=1e-12)


@given(st.integers(1, 400), st.data())
def test_what_is_drawn_is_scipys(of, data):
    marked, size = data.draw(st.integers(0, of)), data.draw(st.integers(0, of))
    drawn = data.draw(st.integers(0, of))
    expected = stats.hypergeom.sf(drawn - 1, of, marked, size)
    assert drawn_tail(drawn, size, marked, of) == pytest.approx(expected, rel=1e-7, abs=1e-290)


def test_a_chance_for_a_person():
    assert [shown_chance(p) for p in (0.123, 4e-9, 1e-13, 0.0)] == [
        "= 0.1",
        "= 4e-09",
        "< 1e-12",
        "< 1e-12",
    ]


def test_nothing_overflows():
    assert 0 < sign_tail(400, 0) < 1e-120
    assert math.isfinite(drawn_tail(500, 1000, 5000, 10**6))


def test_holm_by_hand():
    """0.01 x 4, 0.02 x 3, then no less than the one before: 0.03 x 2 = 0.06, and 0.9."""
    assert holm([0.02, 0.9, 0.01, 0.03]) == pytest.approx([0.06, 0.9, 0.04, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_lies_between_none_and_bonferroni(values):
    for value, adjusted in zip(values, holm(values), strict=True):
        assert value <= adjusted <= min(1.0, len(values) * value)
