"""Which kind: dynamic, static or QAT for a model on this CPU, from what was measured of each."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pytest_quant.baseline.row import Row
from pytest_quant.variant.key import RowKey
from pytest_quant.variant.recipe import FIXTURE_KINDS

NAMES = {"dynamic": "dynamic", "static": "static", "qat": "QAT"}
NEEDS = {
    "dynamic": "it needs no data",
    "static": "it needs calibration data, which was at hand",
    "qat": "it needs training, which was done",
}
FASTER, SMALLER = 1.1, 0.9  # from which on another kind is worth what it asks
NOTABLE = {
    "fraction": 0.002,
    "perplexity": 0.005,
}  # differences of a drop that count; raw: of the value
MOST_LOST = 0.01  # that a faster variant may lose more, where no gate has judged the accuracy
FEWEST_SAMPLES = 2  # of which a difference must be more than one


def which_kind(rows: Iterable[Row], verdicts: Iterable[Mapping[str, Any]] = ()) -> str:
    """One paragraph for a person: which kind of quantization to take here, and why.

    Args:
        rows: of one model, as `row_of` gives them; FP32's may tell its ``work``.
        verdicts: on its variants, as plain data; they decide before any figure does.

    Returns:
        Sentences without the model's name. Only what was measured, and what is missing; empty when no
        quantized variant was measured.
    """
    rows = list(rows)
    fp32 = next((row for row in rows if row.is_fp32), None)
    known = {kind: row for kind in FIXTURE_KINDS if (row := _row_of_kind(rows, kind)) is not None}
    if not known:
        return ""
    judged = {kind: _judged(row, verdicts := list(verdicts)) for kind, row in known.items()}
    able = [
        kind
        for kind, row in known.items()
        if "FAIL" not in judged[kind] and _is_worth_it(row) and _drop(row) is not None
    ]
    chosen = _best(able, known, judged)
    sentences = [_choice(chosen, known, judged)]
    sentences += (_rejected(kind, known, judged, chosen, fp32) for kind in known if kind != chosen)
    return " ".join([*sentences, *_missing(rows, known)])


def _row_of_kind(rows: Iterable[Row], kind: str) -> Row | None:
    """The variant of a kind that was measured: the one of its name, else the first of own recipes."""
    found = [
        row
        for row in rows
        if row.kind == kind and (row.size or _drop(row) is not None or row.latency)
    ]
    return min(found, key=lambda row: row.variant != kind, default=None)


def _judged(row: Row, verdicts: list[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Outcome -> the quantities that were judged so, of one row's variant."""
    found: dict[str, list[str]] = {}
    for verdict in verdicts:
        if RowKey.of(verdict) == row.key:
            found.setdefault(str(verdict["outcome"]), []).append(verdict["quantity"])
    return found


def _best(
    able: list[str], known: Mapping[str, Row], judged: Mapping[str, Mapping[str, list[str]]]
) -> str | None:
    """The kind that asks least of the user, but for those that give notably more."""
    best: str | None = None
    for kind in able:
        if best is None or _is_better(
            known[kind], known[best], "accuracy" in judged[kind].get("PASS", ())
        ):
            best = kind
    return best


def _is_worth_it(row: Row) -> bool:
    """Whether a variant is faster or smaller than FP32, or may be, for all that was measured."""
    speed, size = _speed(row), _size(row)
    return speed is None or size is None or speed >= FASTER or size <= SMALLER


def _is_better(row: Row, than: Row, accurate: bool) -> bool:
    drop, other = _drop(row), _drop(than)
    if drop is not None and other is not None:
        if drop - other > MOST_LOST and not accurate:
            return False
        if max(0.0, other) - max(0.0, drop) >= _notable(row):  # what training adds is no reason
            return True
    if _speed(row) and _speed(than):
        return _is_faster(row, than)
    size, other_size = _size(row), _size(than)
    return bool(size and other_size and size <= SMALLER * other_size)


def _is_faster(row: Row, than: Row) -> bool:
    """Whether notably, for all that their intervals leave open: each was timed in a minute of its own, and
    two equal graphs differ by what else the machine did."""
    own, other = (each.latency.interval if each.latency else None for each in (row, than))
    return own is not None and other is not None and own[0] >= FASTER * other[1]


def _choice(
    chosen: str | None, known: Mapping[str, Row], judged: Mapping[str, Mapping[str, list[str]]]
) -> str:
    if chosen is None and all(_drop(row) is None for row in known.values()):
        return "Which kind to take is open, since the accuracy of none was measured."
    if chosen is None:
        why = (
            "holds all its gates"
            if any("FAIL" in each for each in judged.values())
            else "is worth it"
        )
        return f"No kind that was measured {why} on this CPU."
    row, outcomes = known[chosen], judged[chosen]
    text = f"Take {NAMES[chosen]} on this CPU: {row.variant} {_figures(row)}"
    if passed := len(outcomes.get("PASS", ())):
        text += f", and holds {'its gate' if passed == 1 else f'{passed} gates'}"
    if undecided := outcomes.get("INCONCLUSIVE"):
        text += f"; {_listed(undecided)} {'is' if len(set(undecided)) == 1 else 'are'} undecided"
    return f"{text}; {NEEDS[chosen]}."


def _rejected(
    kind: str,
    known: Mapping[str, Row],
    judged: Mapping[str, Mapping[str, list[str]]],
    chosen: str | None,
    fp32: Row | None,
) -> str:
    row = known[kind]
    text = f"{row.variant} {_figures(row)}"
    if failed := judged[kind].get("FAIL"):
        text += f", and fails its gate on {_listed(failed)}"
    if kind == "dynamic" and (why := _why_dynamic(fp32)):
        return f"{text}: {why}."
    if kind == "qat" and (static := known.get("static")) is not None:
        return f"{text}: {_bought(row, static)}."
    return f"{text}."


def _why_dynamic(fp32: Row | None) -> str:
    work = fp32.work if fp32 else None
    if not work:
        return ""
    own = work["linear"] + work["recurrent"]
    rest = " and ".join(k for k in ("convolution", "attention") if work[k] >= 0.01)
    taken = (
        f"it has int8 kernels for Linear and recurrent layers only, which do {_percent(own)} of the "
        "multiply-adds"
    )
    return f"{taken} ({rest} the rest)" if rest else taken


def _bought(qat: Row, static: Row) -> str:
    """What training bought over calibration, in the metric."""
    drop, other = _drop(qat), _drop(static)
    if drop is None or other is None:
        return "what training buys over static in accuracy was not measured"
    gain = other - drop
    if abs(gain) < _notable(qat):
        return "training bought no accuracy over static that counts here"
    word, metric = "bought" if gain > 0 else "cost", qat.metrics[0]
    count = f" ({abs(gain) * metric.samples:.0f} of {metric.samples} samples)"
    text = f"training {word} {_change(qat, abs(gain))} over static"
    return text + (count if metric.unit == "fraction" else "")


def _missing(rows: Iterable[Row], known: Mapping[str, Row]) -> Iterator[str]:
    rows = list(rows)
    for row in rows:
        if row.error and row.variant in FIXTURE_KINDS and row.variant not in known:
            yield f"{row.variant} could not be made: {row.error}"
    failed = {row.variant for row in rows if row.error}
    gaps = [NAMES[kind] for kind in FIXTURE_KINDS if kind not in known and kind not in failed]
    for row in known.values():
        lacking = {"accuracy": _drop(row), "speed": _speed(row), "size": _size(row)}
        named = [what for what, value in lacking.items() if value is None]
        if named:
            gaps.append(f"the {_listed(named)} of {row.variant}")
    if gaps:
        yield f"Not measured: {_listed(gaps)}; --quant-all builds and measures all three kinds."


def _figures(row: Row) -> str:
    """What was measured of a variant: ``loses 0.37 pt of top-1, is 2.00x as fast as FP32 ...``."""
    found, drop = [], _drop(row)
    if drop is not None:
        name = row.metrics[0].name
        if abs(drop) < 1e-9:
            found.append(f"loses nothing of {name}")
        else:
            found.append(f"{'loses' if drop > 0 else 'gains'} {_change(row, abs(drop))} of {name}")
    speed, size = _speed(row), _size(row)
    if speed is not None:
        found.append(f"is {speed:.2f}x as fast as FP32")
    if size is not None:
        whose = "FP32's" if speed is None else "its"
        found.append(f"has {size:.2f} of {whose} size")
    return _listed(found) if found else "was built"


def _drop(row: Row) -> float | None:
    drop = row.metrics[0].drop if row.metrics else None
    return drop if drop is not None and math.isfinite(drop) else None


def _speed(row: Row) -> float | None:
    return row.latency.speedup if row.latency else None


def _size(row: Row) -> float | None:
    return row.size.tensor_bytes / row.fp32_size if row.size and row.fp32_size else None


def _notable(row: Row) -> float:
    """How much of a drop counts: more than one sample, and more than noise of the last digits."""
    metric = row.metrics[0]
    least = NOTABLE.get(metric.unit, 0.01 * abs(metric.value or 0.0))
    if metric.unit == "fraction":
        least = max(least, (FEWEST_SAMPLES - 0.5) / max(1, metric.samples))
    return float(least)


def _change(row: Row, change: float) -> str:
    unit = row.metrics[0].unit
    if unit == "fraction":
        return f"{100 * change:.2f} pt"
    return f"{100 * change:.2f} %" if unit == "perplexity" else f"{change:.4g}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def _listed(words: Iterable[str]) -> str:
    """``a, b and c``, each once."""
    *most, last = dict.fromkeys(words)
    return f"{', '.join(most)} and {last}" if most else last
