"""Which kind: dynamic, static, QAT or a recipe of one's own for a model on this CPU, or FP32 as it is; from
what was measured of each."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pytest_quant.baseline.row import Row
from pytest_quant.judge.speed_cell import is_speed
from pytest_quant.report.kind_words import (
    change,
    drop_of,
    figures,
    listed,
    notable_of,
    percent,
    size_of,
    speed_of,
)
from pytest_quant.variant.key import RowKey
from pytest_quant.variant.recipe import FIXTURE_KINDS

NAMES = {"dynamic": "dynamic", "static": "static", "qat": "QAT"}
NEEDS = {
    "dynamic": "it needs no data",
    "weight_only": "it needs no data",
    "cast": "it needs no data",
    "static": "it needs calibration data",
    "qat": "it needs training",
}
ORDER = (
    "dynamic",
    "cast",
    "weight_only",
    "static",
    "custom",
    "artefact",
    "qat",
)  # by what they ask of the user
FASTER, SMALLER = 1.1, 0.9  # from which on another kind is worth what it asks
MOST_LOST = 0.01  # that a faster variant may lose more, where no gate has judged the accuracy
MUCH = {"fraction": 0.05, "perplexity": 0.2}  # lost, that nobody takes for granted
SHORT = 60  # characters of an error that is told once more
TOLD = 4  # variants beside the chosen one

Judged = Mapping[str, list[str]]  # outcome -> the quantities that were judged so


def which_kind(rows: Iterable[Row], verdicts: Iterable[Mapping[str, Any]] = ()) -> str:
    """One paragraph for a person: which kind of quantization to take here, and why; or to keep FP32.

    Args:
        rows: of one model, as `row_of` gives them; FP32's may tell its ``work``.
        verdicts: on its variants, as plain data; they decide before any figure does.

    Returns:
        Sentences without the model's name. Only what was measured, and what is missing; empty when no
        quantized variant was measured.
    """
    rows, verdicts = list(rows), list(verdicts)
    fp32 = next((row for row in rows if row.is_fp32), None)
    known = _known(rows)
    if not known:
        return ""
    judged = [_judged(row, verdicts) for row in known]
    able = [i for i, row in enumerate(known) if _is_able(row, judged[i], _asked_for_size(verdicts))]
    chosen = _best(able, known, judged)
    sentences = [_choice(chosen, known, judged, _asked_for_size(verdicts))]
    others = [i for i in range(len(known)) if i != chosen]
    sentences += [_rejected(known[i], judged[i], known, fp32) for i in others[:TOLD]]
    if more := len(others) - TOLD:
        sentences += (
            [f"{more} more {'is' if more == 1 else 'are'} in the table."] if more > 0 else []
        )
    return " ".join([*sentences, *_missing(rows, known)])


def _known(rows: list[Row]) -> list[Row]:
    """The quantized variants that were measured, those first that ask least of the user."""
    found = [
        row
        for row in rows
        if row.kind in ORDER and (row.size or drop_of(row) is not None or row.latency)
    ]
    return sorted(found, key=lambda row: (ORDER.index(str(row.kind)), row.variant != row.kind))


def _judged(row: Row, verdicts: list[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Outcome -> the quantities that were judged so, of one row's variant."""
    found: dict[str, list[str]] = {}
    for verdict in verdicts:
        if RowKey.of(verdict) == row.key:
            found.setdefault(str(verdict["outcome"]), []).append(verdict["quantity"])
    return found


def _asked_for_size(verdicts: list[Mapping[str, Any]]) -> bool:
    return any(verdict["quantity"] == "size" for verdict in verdicts)


def _is_able(row: Row, judged: Judged, for_size: bool) -> bool:
    """Whether it may be taken: no gate FAILed, and it is worth it, or may be, for all that was measured."""
    if "FAIL" in judged or drop_of(row) is None or _loses_much(row, judged):
        return False
    speed, size = speed_of(row), size_of(row)
    if speed is None or _gains_speed(row) or "speed-up" in judged.get("PASS", ()):
        return True
    return for_size and (size is None or size <= SMALLER)


def _gains_speed(row: Row) -> bool:
    """Whether it is notably faster than FP32, and surely faster at all."""
    speed, interval = speed_of(row), row.latency.interval if row.latency else None
    return speed is not None and speed >= FASTER and (interval is None or interval[0] > 1.0)


def _best(able: list[int], known: list[Row], judged: list[dict[str, list[str]]]) -> int | None:
    """The one that asks least of the user, but for those that give notably more."""
    best: int | None = None
    for i in able:
        is_accurate = "accuracy" in judged[i].get("PASS", ())
        if best is None or _is_better(known[i], known[best], is_accurate):
            best = i
    return best


def _is_better(row: Row, than: Row, accurate: bool) -> bool:
    drop, other = drop_of(row), drop_of(than)
    if drop is not None and other is not None:
        if drop - other > MOST_LOST and not accurate:
            return False
        if max(0.0, other) - max(0.0, drop) >= notable_of(row):  # what training adds is no reason
            return True
    if speed_of(row) and speed_of(than):
        return _is_faster(row, than)
    if _gains_speed(row) != _gains_speed(
        than
    ):  # the other was not timed, and may be slower than FP32
        return _gains_speed(row)
    size, other_size = size_of(row), size_of(than)
    return bool(size and other_size and size <= SMALLER * other_size)


def _is_faster(row: Row, than: Row) -> bool:
    """Whether notably, for all that their intervals leave open: each was timed in a minute of its own, and
    two equal graphs differ by what else the machine did."""
    own, other = (each.latency.interval if each.latency else None for each in (row, than))
    return own is not None and other is not None and own[0] >= FASTER * other[1]


def _choice(
    chosen: int | None, known: list[Row], judged: list[dict[str, list[str]]], for_size: bool
) -> str:
    if chosen is not None:
        return _take(known[chosen], judged[chosen])
    if all(drop_of(row) is None for row in known):
        return "No kind can be recommended, since no accuracy was measured."
    if all("FAIL" in each for each in judged):
        return "None of the kinds that were measured holds all its gates on this CPU."
    return _keep(known, judged, for_size)


def _keep(known: list[Row], judged: list[dict[str, list[str]]], for_size: bool) -> str:
    """Why FP32 stays, and what is possible if only size matters."""
    rest = [(row, each) for row, each in zip(known, judged, strict=True) if "FAIL" not in each]
    lossy = [row for row, each in rest if _loses_much(row, each)]
    unknown = [row for row, _ in rest if drop_of(row) is None]
    slow = [row for row, _ in rest if row not in lossy and row not in unknown]
    reasons = list[str]()
    for found, what in (
        ([row for row in slow if not _may_be_faster(row)], "no faster"),
        ([row for row in slow if _may_be_faster(row)], "not proven to be faster"),
    ):
        if found:
            names = listed(row.variant for row in found)
            reasons.append(f"{names} {'is' if len(found) == 1 else 'are'} {what}")
    if reasons:
        reasons[-1] += " nor much smaller" if for_size else ", and no test asks for size"
    if unknown:
        reasons.append(f"the accuracy of {listed(row.variant for row in unknown)} was not measured")
    for row in lossy:
        reasons.append(
            f"{row.variant} loses {change(row, drop_of(row) or 0.0)}, which no gate allows"
        )
    for row, each in zip(known, judged, strict=True):
        if "FAIL" in each:
            reasons.append(f"{row.variant} {_fails(each['FAIL'])}")
    text = f"Keep FP32 on this CPU: {'; '.join(reasons)}"
    sizes = [size for row in slow if (size := size_of(row)) is not None and size <= SMALLER]
    if sizes and not for_size:
        text += f". If only size matters, {min(sizes):.2f} of FP32's is possible"
    return f"{text}."


def _fails(quantities: list[str]) -> str:
    return f"fails its {'gate' if len({*quantities}) == 1 else 'gates'} on {listed(quantities)}"


def _may_be_faster(row: Row) -> bool:
    """Whether its interval leaves open that it is notably faster."""
    interval = row.latency.interval if row.latency else None
    return interval is not None and interval[1] > FASTER


def _loses_much(row: Row, judged: Judged) -> bool:
    """Whether it loses more than anybody would give for speed, unless a gate allows it."""
    is_judged = any(
        not is_speed(q) and q not in ("size", "int8 share") for q in judged.get("PASS", ())
    )
    unit = row.metrics[0].unit if row.metrics else ""
    return not is_judged and unit in MUCH and (drop_of(row) or 0.0) > MUCH[unit]


def _take(row: Row, judged: Judged) -> str:
    kind = str(row.kind)
    name = NAMES[kind] if kind in NAMES and row.variant == kind else row.variant
    text = f"Take {name} on this CPU: {row.variant} {figures(row)}"
    if passed := len(judged.get("PASS", ())):
        text += f", and holds {'its gate' if passed == 1 else f'{passed} gates'}"
    if undecided := judged.get("INCONCLUSIVE"):
        text += f"; {listed(undecided)} {'is' if len(set(undecided)) == 1 else 'are'} undecided"
    return f"{text}; {NEEDS[kind]}." if kind in NEEDS else f"{text}."


def _rejected(row: Row, judged: Judged, known: list[Row], fp32: Row | None) -> str:
    text = f"{row.variant} {figures(row)}"
    if failed := judged.get("FAIL"):
        text += f", and {_fails(failed)}"
    if row.kind == "dynamic" and (why := _why_dynamic(fp32)):
        return f"{text}: {why}."
    static = next((each for each in known if each.kind == "static"), None)
    if row.kind == "qat" and static is not None:
        return f"{text}: {_gained(row, static)}."
    return f"{text}."


def _why_dynamic(fp32: Row | None) -> str:
    work = fp32.work if fp32 else None
    if not work:
        return ""
    own = work["linear"] + work["recurrent"]
    rest = " and ".join(k for k in ("convolution", "attention") if work[k] >= 0.01)
    if not rest:
        return ""
    return (
        f"it has int8 kernels for Linear and recurrent layers only, which do {percent(own)} of the "
        f"multiply-adds ({rest} the rest)"
    )


def _gained(qat: Row, static: Row) -> str:
    """What training gained over calibration, in the metric."""
    drop, other = drop_of(qat), drop_of(static)
    if drop is None or other is None:
        return f"whether training gains accuracy over {static.variant} was not measured"
    gain = other - drop
    if abs(gain) < notable_of(qat):
        return f"training gained no significant accuracy over {static.variant}"
    word, metric = "gained" if gain > 0 else "cost", qat.metrics[0]
    count = f" ({abs(gain) * metric.samples:.0f} of {metric.samples} samples)"
    text = f"training {word} {change(qat, abs(gain))} over {static.variant}"
    return text + (count if metric.unit == "fraction" else "")


def _missing(rows: Iterable[Row], known: list[Row]) -> Iterator[str]:
    rows, kinds = list(rows), {str(row.kind) for row in known}
    for row in rows:
        if row.error and row.variant in FIXTURE_KINDS and row.variant not in kinds:
            stage = row.error.partition(":")[0]
            why = row.error if len(row.error) <= SHORT else f"{stage}, as reported for it."
            yield f"{row.variant} could not be built: {why}"
    failed = {row.variant for row in rows if row.error}
    gaps = [NAMES[kind] for kind in FIXTURE_KINDS if kind not in kinds and kind not in failed]
    for row in known:
        if row.error:
            continue  # what it lacks is told with its error
        lacking = {"accuracy": drop_of(row), "speed": speed_of(row), "size": size_of(row)}
        named = [what for what, value in lacking.items() if value is None]
        if named:
            gaps.append(f"the {listed(named)} of {row.variant}")
    if gaps:
        yield f"Not measured: {listed(gaps)}; --quant-all builds and measures each kind that has data."
