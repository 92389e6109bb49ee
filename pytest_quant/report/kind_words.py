"""Kind words: what was measured of a variant, as parts of a sentence."""

import math
from collections.abc import Iterable

from pytest_quant.baseline.row import Row

NOTABLE = {
    "fraction": 0.002,
    "perplexity": 0.005,
}  # differences of a drop that count; raw: of the value
FEWEST_SAMPLES = 2  # of which a difference must be more than one
FEW_FLIPS = 10  # up to which it is worth knowing how many samples a drop is


def figures(row: Row) -> str:
    """What was measured of a variant: ``loses 0.37 pt of top-1, is 2.00x as fast as FP32 ...``."""
    found, drop = [], drop_of(row)
    if drop is not None:
        name = row.metrics[0].name
        if abs(drop) < 1e-9:
            better = row.metrics[0].higher_is_better
            found.append(f"loses nothing of {name}" if better else f"does not raise {name}")
        else:
            by = change(row, abs(drop))
            if row.metrics[0].higher_is_better:
                found.append(
                    f"{'loses' if drop > 0 else 'gains'} {by} of {name}{_samples(row, drop)}"
                )
            else:
                found.append(f"{'raises' if drop > 0 else 'lowers'} {name} by {by}")
    speed, size = speed_of(row), size_of(row)
    if speed is not None:
        found.append(f"is {speed:.2f}x as fast as FP32{_interval(row)}")
    if size is not None:
        whose = "FP32's" if speed is None else "its"
        found.append(f"has {size:.2f} of {whose} size")
    return listed(found) if found else "was built"


def drop_of(row: Row) -> float | None:
    drop = row.metrics[0].drop if row.metrics else None
    return drop if drop is not None and math.isfinite(drop) else None


def speed_of(row: Row) -> float | None:
    return row.latency.speedup if row.latency else None


def size_of(row: Row) -> float | None:
    return row.size.tensor_bytes / row.fp32_size if row.size and row.fp32_size else None


def notable_of(row: Row) -> float:
    """How much of a drop counts: more than one sample, and more than noise of the last digits."""
    metric = row.metrics[0]
    least = NOTABLE.get(metric.unit, 0.01 * abs(metric.value or 0.0))
    if metric.unit == "fraction":
        least = max(least, (FEWEST_SAMPLES - 0.5) / max(1, metric.samples))
    return float(least)


def change(row: Row, by: float) -> str:
    unit = row.metrics[0].unit
    if unit == "fraction":
        return f"{100 * by:.2f} pt"
    return f"{100 * by:.2f} %" if unit == "perplexity" else f"{by:.4g}"


def percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def listed(words: Iterable[str]) -> str:
    """``a, b and c``, each once."""
    *most, last = dict.fromkeys(words)
    return f"{', '.join(most)} and {last}" if most else last


def _samples(row: Row, drop: float) -> str:
    """What a drop is in samples, where these are few."""
    metric = row.metrics[0]
    count = abs(drop) * metric.samples
    if (
        metric.unit != "fraction"
        or not 0.5 <= count <= FEW_FLIPS
        or abs(count - round(count)) > 0.01
    ):
        return ""
    return f" ({round(count)} of {metric.samples:,} samples)"


def _interval(row: Row) -> str:
    """The speed-up's, where it leaves open which is faster."""
    interval = row.latency.interval if row.latency else None
    if interval is None or not interval[0] < 1.0 < interval[1]:
        return ""
    return f" ({interval[0]:.2f} to {interval[1]:.2f})"
