"""Sets: the smallest set that passes, and how many checks it takes."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_quant.explain.remedies.sets import passing_sets

ORDER = [f"l{i}" for i in range(64)]
FREE = dict.fromkeys(ORDER, 1.0)


def needing(*layers):
    """A check that passes with just these, and counts."""
    checked = []

    def passes(kept):
        checked.append(kept)
        return set(layers) <= set(kept)

    return passes, checked


@pytest.mark.parametrize("layers", [("l0",), ("l1",), ("l0", "l1", "l2"), ("l3", "l9"), ("l40",)])
def test_what_is_needed_is_found_and_nothing_else(layers):
    passes, _ = needing(*layers)
    assert passing_sets(ORDER, passes, costs=FREE, most=64)[-1] == layers


def test_a_layer_at_the_front_takes_few_checks():
    passes, checked = needing("l0")
    passing_sets(ORDER, passes, costs=FREE, most=64)
    assert len(checked) == 1
    passes, checked = needing("l0", "l1", "l2")
    passing_sets(ORDER, passes, costs=FREE, most=64)
    assert len(checked) <= 7


def test_no_set_is_larger_than_allowed():
    passes, checked = needing("l5")
    assert passing_sets(ORDER, passes, costs=FREE, most=5) == []
    assert max(map(len, checked)) == 5
    assert passing_sets([], passes, costs={}, most=5) == []


def test_the_dearest_layer_is_given_back_first():
    costs = {"l0": 1.0, "l1": 100.0, "l2": 1.0}

    def passes(kept):  # any two of three
        return len(set(kept) & {"l0", "l1", "l2"}) >= 2

    assert passing_sets(ORDER[:3], passes, costs=costs, most=3)[-1] == ("l0", "l1")
    costs["l0"] = 1000.0

    def passes_with_three(kept):
        return len(kept) >= 3 or set(kept) == {"l1", "l2"}

    assert passing_sets(ORDER[:3], passes_with_three, costs=costs, most=3)[-1] == ("l1", "l2")


@given(st.dictionaries(st.frozensets(st.sampled_from(ORDER[:6]), min_size=1), st.booleans()))
def test_every_set_has_passed_even_if_the_check_is_not_monotone(answers):
    asked = {}

    def passes(kept):
        assert frozenset(kept) not in asked  # never twice
        asked[frozenset(kept)] = answers.get(frozenset(kept), False)
        return asked[frozenset(kept)]

    found = passing_sets(ORDER[:6], passes, costs=FREE, most=6)
    assert all(asked[frozenset(kept)] for kept in found)
    assert all(len(a) >= len(b) for a, b in pairwise(found))


def test_a_check_may_stop_the_search():
    def passes(kept):
        raise TimeoutError

    with pytest.raises(TimeoutError):
        passing_sets(ORDER, passes, costs=FREE, most=3)
