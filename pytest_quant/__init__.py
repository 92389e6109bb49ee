"""Decide whether a quantized PyTorch model may ship.

The public names are resolved on first use, because pytest imports this package in every run of
every suite on the machine: importing it loads neither torch nor numpy nor pandas.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_quant.errors import QuantStageError
    from pytest_quant.explain.lost.locate import explain as explain
    from pytest_quant.explain.remedies.mending import mend
    from pytest_quant.judge.gate import Gate
    from pytest_quant.judge.gates import (
        assert_gates,
        assert_max_accuracy_drop,
        assert_max_flips,
        assert_max_size,
        assert_max_slice_drop,
        assert_min_int8_share,
        assert_min_speedup,
        assert_min_sqnr,
    )
    from pytest_quant.judge.regression import assert_no_regression
    from pytest_quant.judge.verdict import Outcome, Verdict
    from pytest_quant.machine.conditions import Conditions
    from pytest_quant.quantize.saved.variant_file import load_variant
    from pytest_quant.store.open import open_store
    from pytest_quant.subject.metrics import Metric
    from pytest_quant.subject.subject import Subject
    from pytest_quant.variant.recipe import Recipe
    from pytest_quant.variant.variant import Variant

    __version__: str

__all__ = [
    "Conditions",
    "Gate",
    "Metric",
    "Outcome",
    "QuantStageError",
    "Recipe",
    "Subject",
    "Variant",
    "Verdict",
    "assert_gates",
    "assert_max_accuracy_drop",
    "assert_max_flips",
    "assert_max_size",
    "assert_max_slice_drop",
    "assert_min_int8_share",
    "assert_min_speedup",
    "assert_min_sqnr",
    "assert_no_regression",
    "explain",
    "load_variant",
    "mend",
    "open_store",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("pytest-quant")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "explain":  # the package of that name, which can be called
        import pytest_quant.explain as package

        return package
    return getattr(_home_of(name), name)


def _home_of(name: str) -> Any:
    """The module of a public name, imported when the name is first asked for.

    Written out, so that the import contract sees each of these imports.
    """
    if name == "QuantStageError":
        from pytest_quant import errors

        return errors
    if name == "Conditions":
        from pytest_quant.machine import conditions

        return conditions
    if name == "Subject":
        from pytest_quant.subject import subject

        return subject
    if name == "Metric":
        from pytest_quant.subject import metrics

        return metrics
    if name == "Recipe":
        from pytest_quant.variant import recipe

        return recipe
    if name == "Variant":
        from pytest_quant.variant import variant

        return variant
    if name == "load_variant":
        from pytest_quant.quantize.saved import variant_file

        return variant_file
    if name == "open_store":
        from pytest_quant.store import open

        return open
    if name == "Gate":
        from pytest_quant.judge import gate

        return gate
    if name in ("Outcome", "Verdict"):
        from pytest_quant.judge import verdict

        return verdict
    if name == "assert_no_regression":
        from pytest_quant.judge import regression

        return regression
    if name == "mend":
        from pytest_quant.explain.remedies import mending

        return mending
    from pytest_quant.judge import gates

    return gates


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
