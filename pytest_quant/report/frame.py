"""Frame: a report as a pandas DataFrame of numbers, one line for each metric of each row."""

from typing import Any

import pandas as pd

from pytest_quant.baseline.change_words import cell_of
from pytest_quant.baseline.changes import changes_by_row
from pytest_quant.baseline.row import Latency, MetricScore, Row
from pytest_quant.report.document import Report, outcomes
from pytest_quant.report.moments import beside_fp32
from pytest_quant.variant.measurements import MB

SINCE = "since "  # and a baseline's name: the column of what changed
COLUMNS = (
    "model", "variant", "metric", "size_mb", "times_smaller", "value", "drop", "flips", "samples",
    "ms_per_batch", "batch", "speedup", "speedup_low", "speedup_high", "speedup_against_best",
    "speedup_against_runtime", "int8_share", "gates", "unit", "file_mb", "int8_share_macs", "rounds",
    "sqnr",
)  # fmt: skip
TEXTS = ("model", "variant", "metric", "gates", "unit")


def frame_of(report: Report) -> pd.DataFrame:
    """The report's numbers; missing where nothing was measured.

    Columns: sizes in MB of 10**6 bytes; ``value`` and ``drop`` in the metric's unit (``drop`` is
    positive where the variant is worse); ``flips`` a share of the samples; ``sqnr`` in dB; times in ms for
    one call on ``batch`` samples; ``speedup`` with its 95 % interval, and of a file of another runtime
    ``speedup_against_runtime``, against FP32 there, where that was timed. A report that was compared with a
    baseline has a last column, ``since NAME``, with what changed in words.
    """
    names, variants = report.model_names(), report.variant_names()
    timed = beside_fp32(report)
    verdicts, changed = report.verdicts_by_row(), changes_by_row(report.since)
    lines = []
    compared = [] if report.since is None else [SINCE + report.since["name"]]
    for row in report.ordered():
        gates = "ERROR" if row.error else outcomes(verdicts.get(row.key, ()))
        for index, metric in enumerate(row.metrics or [None]):
            line = {"model": names[row.key.of_model], "variant": variants[row.key], "gates": gates}
            line |= _metric_cells(metric)
            if index == 0:
                line |= _model_cells(row, timed.get(row.key.of_model))
            else:
                line["gates"] = ""
            for column in compared:
                line[column] = cell_of(changed.get(row.key), index)
            lines.append(line)
    frame = pd.DataFrame(lines, columns=[*COLUMNS, *compared])
    numbers = [column for column in COLUMNS if column not in TEXTS]
    return frame.astype(dict.fromkeys(numbers, float))


def _metric_cells(metric: MetricScore | None) -> dict[str, Any]:
    if metric is None:
        return {}
    flips = None if metric.flips is None or not metric.samples else metric.flips / metric.samples
    return {
        "metric": metric.name,
        "unit": metric.unit,
        "value": metric.value,
        "drop": metric.drop,
        "flips": flips,
        "samples": metric.samples,
    }


def _model_cells(row: Row, timed: Latency | None) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    if row.size:
        cells["size_mb"] = row.size.mb
        if row.size.file_bytes is not None:
            cells["file_mb"] = row.size.file_bytes / MB
        if row.fp32_size and row.size.tensor_bytes:
            cells["times_smaller"] = row.fp32_size / row.size.tensor_bytes
    cells["sqnr"] = row.sqnr
    if row.int8_share:
        cells["int8_share"] = row.int8_share.parameters
        cells["int8_share_macs"] = row.int8_share.macs
    if row.is_fp32 and timed:
        cells |= {"ms_per_batch": timed.fp32_ms, "batch": timed.batch, "speedup": 1.0}
    elif latency := row.latency:
        low, high = latency.interval or (None, None)
        cells |= {
            "ms_per_batch": latency.ms,
            "batch": latency.batch,
            "speedup": latency.speedup,
            "speedup_low": low,
            "speedup_high": high,
            "speedup_against_best": latency.against_best,
            "speedup_against_runtime": latency.against_runtime,
            "rounds": latency.rounds,
        }
    return cells
