"""JUnit: verdicts as name and value, for JUnit XML and every program that reads it."""

from collections.abc import Iterable

import pytest

from pytest_quant.judge.recorder import Running
from pytest_quant.judge.verdict import Verdict


def tell_properties(item: pytest.Item, test: Running) -> None:
    """Add a test's verdicts to its properties."""
    test.properties += properties_of(test.verdicts)
    item.user_properties += properties_of(test.verdicts)


def forget_properties(properties: list[tuple[str, object]], told: list[tuple[str, str]]) -> None:
    """Take back, in place, what a try has reported for a test that is then run again."""
    for each in told:
        if each in properties:
            properties.remove(each)


def properties_of(verdicts: Iterable[Verdict]) -> list[tuple[str, str]]:
    """``quant_<gate>_outcome``, and so on for limit, observed, model, variant, metric and sentence.

    A gate that a test asks for again is counted: ``quant_min_speedup_2_outcome``. What is not known
    is left out.
    """
    found = []
    times: dict[str, int] = {}
    for verdict in verdicts:
        times[verdict.gate] = times.get(verdict.gate, 0) + 1
        again = f"_{times[verdict.gate]}" if times[verdict.gate] > 1 else ""
        values = {
            "outcome": str(verdict.outcome),
            "limit": verdict.limit,
            "observed": verdict.observed,
            "model": verdict.model,
            "variant": verdict.variant,
            "metric": verdict.metric,
            "sentence": verdict.sentence,
        }
        found += [
            (f"quant_{verdict.gate}{again}_{name}", str(value))
            for name, value in values.items()
            if value is not None
        ]
    return found
