"""Hooks that a conftest may implement."""

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_quant.judge.gate import Gate
    from pytest_quant.variant.recipe import Recipe


@pytest.hookspec
def pytest_quant_recipes(config: pytest.Config) -> "dict[str, Recipe]":  # type: ignore[empty-body]
    """Variants of your own, by name: ``{"static-minmax": Recipe("static", observer="minmax")}``.

    `quant_variant` is parametrized over them, after dynamic, static and qat.
    """


@pytest.hookspec
def pytest_quant_gates(config: pytest.Config) -> "list[Gate]":  # type: ignore[empty-body]
    """Gates of your own, which `assert_gates` judges beside ours: ``[Gate("max_peak_mb", 50, judge)]``.

    A nearer conftest's gate wins over one of the same name farther away.
    """


@pytest.hookspec
def pytest_quant_report(report: dict[str, Any], frame: Any) -> None:
    """Called once, on the controller, when all tests are over.

    Args:
        report: what report.json holds: ``version``, ``may_ship``, ``environment``, ``rows``,
            ``verdicts``, ``tests``, ...; report.schema.json describes it.
        frame: the same as a pandas DataFrame, one line for each metric of each row.
    """
