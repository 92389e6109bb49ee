"""Decide whether a quantized PyTorch model may ship.

The public names are resolved on first use, because pytest imports this package in every run of
every suite on the machine: importing it loads neither torch nor numpy nor pandas.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_quant.errors import QuantStageError
    from pytest_quant.judge.gates import (
        assert_gates,
        assert_max_accuracy_drop,
        assert_max_flips,
        assert_max_size,
        assert_min_int8_share,
        assert_min_speedup,
    )
    from pytest_quant.judge.regression import assert_no_regression
    from pytest_quant.judge.verdict import Outcome, Verdict
    from pytest_quant.quantize.saved.variant_file import load_variant
    from pytest_quant.subject.metrics import Metric
    from pytest_quant.subject.subject import Subject
    from pytest_quant.variant.recipe import Recipe
    from pytest_quant.variant.variant import Variant

__version__ = "0.1.0"

__all__ = [
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
    "assert_min_int8_share",
    "assert_min_speedup",
    "assert_no_regression",
    "load_variant",
]

_HOME = {
    "Metric": "metrics",
    "Outcome": "judge.verdict",
    "QuantStageError": "errors",
    "Recipe": "recipe",
    "Subject": "subject",
    "Variant": "variant",
    "Verdict": "judge.verdict",
    "assert_no_regression": "judge.regression",
    "load_variant": "saved",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME.get(name, 'judge.gates')}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
