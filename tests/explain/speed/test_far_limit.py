"""A speed-up far beyond what was measured is no matter of the recipe."""

from types import SimpleNamespace

import pytest
from builders import toy_variant

from pytest_quant.explain import causes
from pytest_quant.explain.effort import Effort
from pytest_quant.judge.verdict import Outcome


@pytest.fixture
def variant(monkeypatch):
    found = SimpleNamespace(sentences=("Half of the time is in int8 layers.",), table=lambda: "")
    monkeypatch.setattr(causes, "slowness_of", lambda variant: found)
    return toy_variant("static")


@pytest.mark.parametrize(
    ("observed", "limit", "is_far"),
    [(1.67, 12, True), (1.0, 4.5, True), (1.67, 2.0, False), (0.5, 12, False), (None, 12, False)],
)
def test_it_is_said_only_where_the_variant_is_faster_but_by_far_too_little(
    variant, observed, limit, is_far
):
    verdict = SimpleNamespace(
        outcome=Outcome.FAIL, evidence={}, quantity="speed-up", gate="min_speedup",
        limit=limit, observed=observed, metric=None,
    )  # fmt: skip
    text = causes._slow(verdict, variant, Effort())
    assert text.startswith("Half of the time is in int8 layers.")
    assert (
        "times what was measured, which no change of the recipe is likely to give" in text
    ) == is_far
