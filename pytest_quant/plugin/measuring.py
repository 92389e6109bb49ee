"""Measuring: what is measured of a variant that a test, or ``--quant-all``, looks at."""

import contextlib

from pytest_quant.errors import QuantStageError
from pytest_quant.judge import recorder
from pytest_quant.judge.speedup import is_well_known
from pytest_quant.machine.conditions import Conditions
from pytest_quant.measure.nearness import nearness
from pytest_quant.variant.variant import Variant

ROUNDS_SHOWN = 20  # enough for a 95 % interval of the median, where the machine is not quiet


def measure_all(variant: Variant, conditions: Conditions) -> None:
    """Everything that the table shows; what cannot be measured stays open and raises at the end."""
    errors = []
    for what in ("size", "int8_share", "evaluation"):
        try:
            getattr(variant, what)
        except QuantStageError as error:
            errors.append(error)
    if not variant.is_fp32:
        pair = variant.pair("given")
        pair.add_rounds(ROUNDS_SHOWN, conditions.timing_seconds, is_well_known)
        _ = variant.fp32.format_gain
        _time_grid(variant)
    if errors:
        raise errors[0]


def remember(variant: Variant) -> None:
    """Note that a test has looked at a variant; what costs next to nothing is measured for the table."""
    if not recorder.looked_at(variant):
        return
    if hasattr(variant.model, "state_dict"):
        with contextlib.suppress(QuantStageError):
            _ = variant.size, variant.int8_share
    if not variant.is_fp32:
        with contextlib.suppress(QuantStageError):
            nearness(variant)
        with contextlib.suppress(QuantStageError):
            _time_grid(variant)


def _time_grid(variant: Variant) -> None:
    conditions = variant.conditions
    for cell in conditions.latency_grid:
        pair = variant.pair("given", cell)
        pair.add_rounds(ROUNDS_SHOWN, conditions.timing_seconds, is_well_known)
