"""Score range: what scores a metric may have, by its unit."""

from typing import Any

import numpy as np

from pytest_quant.errors import QuantStageError
from pytest_quant.subject.metrics import Metric

ROUNDING = 1e-6


def out_of_range(metric: Metric, values: "np.ndarray[Any, Any]") -> float | None:
    """A value that a metric in fractions cannot have; None where there is none."""
    if metric.unit not in ("fraction", None):
        return None
    strange = values[(values < -ROUNDING) | (values > 1 + ROUNDING)]
    return float(strange[np.abs(strange).argmax()]) if len(strange) else None


def refused_range(metric: Metric, value: float) -> QuantStageError:
    """FP32's value is none of what the metric's unit says."""
    percent = "Divide a percentage by 100, or say the unit" if 1 < value <= 100 else "Say the unit"
    direction = "" if metric.higher_is_better is not False else "higher_is_better=False, "
    return QuantStageError(
        "evaluate",
        f"metric {metric.name} is {value:.4g} on FP32; a metric in fractions lies in [0, 1]. {percent}: "
        f"Metric(..., {metric.name!r}, {direction}unit='raw').",
    )
