"""Moments: milliseconds of one table that were timed at several moments of a busy machine."""

from collections.abc import Iterator

from pytest_quant.baseline.row import Latency
from pytest_quant.report.document import Report
from pytest_quant.variant.key import ModelKey

APART = 1.25  # of FP32's time, from which on a reader would miscount a speed-up


def beside_fp32(report: Report) -> dict[ModelKey, Latency]:
    """For each model the timing from which the row of FP32 has its milliseconds: the last one."""
    return {row.key.of_model: row.latency for row in report.rows if row.latency}


def moments(report: Report) -> Iterator[str]:
    """A sentence for each row whose FP32 took another time than the table shows for FP32.

    Speed-ups are of rounds in which both took turns, so they hold whatever the machine did; milliseconds
    of two rows do not.
    """
    shown, names, variants = beside_fp32(report), report.model_names(), report.variant_names()
    for row in report.rows:
        own, other = row.latency, shown.get(row.key.of_model)
        if own is None or other is None or not own.fp32_ms or not other.fp32_ms:
            continue
        if not 1 / APART < own.fp32_ms / other.fp32_ms < APART:
            who = f"{names[row.key.of_model]} {variants[row.key]}"
            yield (
                f"{who}: FP32 took {own.fp32_ms:.4g} ms beside it, not {other.fp32_ms:.4g}, since the "
                "machine was at another speed. Compare speed-ups, whose rounds take turns, and not "
                "milliseconds"
            )
