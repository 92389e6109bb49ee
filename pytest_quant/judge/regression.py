"""Regression: a variant against a saved baseline: accuracy, speed-up, size and int8 share, no worse."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from pytest_quant.errors import QuantStageError, hidden
from pytest_quant.judge import recorder
from pytest_quant.judge.accuracy_drop import check_drop_limit, metric_named
from pytest_quant.judge.drop_since import judge_drop_since
from pytest_quant.judge.gates import all_held, check_variant
from pytest_quant.judge.honesty import refusal, why_refused
from pytest_quant.judge.limits import checked
from pytest_quant.judge.speedup import judge_speedup
from pytest_quant.judge.stored import GATE, Stored, stored_in, unusable
from pytest_quant.judge.verdict import Outcome, Verdict
from pytest_quant.subject.metrics import Metric
from pytest_quant.variant.measurements import MB
from pytest_quant.variant.variant import Variant

TOLERANCE = 0.05  # of a stored speed-up, below the lower end of its interval; see `judge_speedup`
SAVED_ROUNDS = 30  # narrow the stored interval to about one standard deviation of a round


def assert_no_regression(
    variant: Variant, baseline_name: str, *, max_drop: float = 0.0, metric: str | None = None
) -> tuple[Verdict, ...]:
    """The variant is no worse than the same variant was when a baseline was saved.

    A baseline is pinned: a run is never compared with the last one, since small losses would then
    add up unnoticed. To move it, run ``pytest --quant --quant-save=NAME``, read what changed and
    commit the file. In such a run this helper measures what belongs into that baseline and judges
    nothing against what is about to be replaced.

    Accuracy is compared sample by sample with the stored scores, exactly; size and int8 share are
    exact too. The speed-up is timed here and now and has to reach the lower end of the stored
    interval less 5 %; under another CPU, instruction set, number of threads, torch or engine that
    comparison is INCONCLUSIVE. Milliseconds are never compared. What the baseline does not hold is
    not judged, which the report notes. Being better than the baseline is no breach.

    Args:
        variant: what a fixture such as `quant_static` gave; `quant_fp32` too.
        baseline_name: what it was saved as: a file in the folder ``quant_baselines``.
        max_drop: how far the metric may fall below the baseline's, in its unit: 0.01 is one point of
            accuracy. For a metric where lower is better it limits the rise.
        metric: which one, when `quant_metric` gives several; default the first.

    Returns:
        A Verdict for each quantity, since a single one could not say that accuracy holds while the
        speed-up was measured on another machine. Empty while this baseline is being saved.

    Raises:
        AssertionError: one line for each quantity that is worse, or the variant was not quantized.
        QuantStageError: there is no such baseline, it is damaged, lacks this variant, or was made on
            other eval data; the other quantities are judged all the same.
        TypeError, ValueError: a wrong argument; says what is allowed.
    """
    __tracebackhide__ = hidden
    check_variant(variant, "assert_no_regression")
    limit = checked("max_accuracy_drop", max_drop)
    chosen = metric_named(variant, metric)
    check_drop_limit(chosen, limit)
    test = recorder.current()
    verdicts: list[Verdict] = []
    errors: list[QuantStageError] = []
    if reason := why_refused(variant):
        verdicts = [refusal(GATE, "int8 share", variant, 0.0, reason)]
        recorder.note(verdicts[0], variant)
    elif baseline_name == test.saving:
        _measure(variant)
        return ()
    else:
        stored = stored_in(variant, baseline_name)
        verdicts, errors = _judged(stored, chosen, limit, test.timing_seconds)
    return all_held(verdicts, errors)


def judge_speedup_since(stored: Stored, budget: float) -> Verdict:
    """Whether the speed-up, timed here and now, reaches the baseline's less the tolerance.

    The stored number is uncertain too, so it is the lower end of its interval that counts.
    INCONCLUSIVE on another machine, for another batch, or where the stored number has no interval.
    """
    variant, latency = stored.variant, stored.row.latency
    assert latency is not None  # see `_judges`
    assert latency.speedup is not None  # see the check of the file
    interval, speedup = latency.interval, latency.speedup
    differ = stored.differences()
    batch = variant.pair("given").batch
    if latency.batch != batch:
        differ.append(f"batch {latency.batch} -> {batch}")
    if differ or interval is None:
        why = (
            f"is of another environment ({', '.join(differ)}), where its {speedup:.2f}x says nothing; "
            "save a baseline here, or limit the speed-up by assert_min_speedup"
            if differ
            else f"timed {latency.rounds} rounds only, too few to know its speed-up; save it again"
        )
        return Verdict.on(
            variant,
            GATE,
            "speed-up",
            Outcome.INCONCLUSIVE,
            f"{variant.name} is not compared: {stored.name} {why}",
            limit=speedup * (1 - TOLERANCE),
            observed=None,
            evidence={"baseline": stored.baseline.name, "reason": "environment", "differs": differ},
        )
    limit = round(interval[0] * (1 - TOLERANCE), 3)
    verdict = judge_speedup(variant, limit, budget=budget)
    span = f"{speedup:.2f}x [{interval[0]:.2f}, {interval[1]:.2f}]"
    more = {"baseline": stored.baseline.name, "before": speedup, "before_95": list(interval)}
    return replace(
        verdict,
        gate=GATE,
        clause=f"{verdict.clause}; {stored.name} had {span}, {100 * TOLERANCE:g} % are tolerated",
        evidence={**verdict.evidence, **more},
    )


def judge_size_since(stored: Stored) -> Verdict:
    """Whether the variant needs no more bytes than in the baseline."""
    variant = stored.variant
    assert stored.row.size is not None
    now, then = variant.size.tensor_bytes, stored.row.size.tensor_bytes
    return _plain(
        stored,
        "size",
        now <= then,
        f"{variant.name} needs {now / MB:.2f} MB ({now:,} bytes), {stored.name} {_than(then, now)}",
        limit=then / MB,
        observed=now / MB,
    )


def judge_share_since(stored: Stored) -> Verdict:
    """Whether no smaller share of the parameters, and of the multiply-adds, is int8.

    Raises:
        QuantStageError: when the baseline knows a share and this model does not.
    """
    variant, then, now = stored.variant, stored.row.int8_share, stored.variant.int8_share
    assert then is not None
    shares = [of for of in ("parameters", "macs") if getattr(then, of) is not None]
    unknown = [of for of in shares if getattr(now, of) is None]
    if unknown:
        raise QuantStageError(
            "size",
            f"the int8 share of {variant.name}'s {unknown[0]} is unknown, and {stored.name} has one",
        )
    less = [of for of in shares if getattr(now, of) < getattr(then, of)]
    of = [*less, *shares][0]
    words = "parameters" if of == "parameters" else "multiply-adds"
    left = sorted({*now.stayed_fp32} - {*then.stayed_fp32}) if less else []
    named = f"; now FP32 too: {', '.join(left[:5])}" if left else ""
    share, before = getattr(now, of), getattr(then, of)
    return _plain(
        stored,
        "int8 share",
        share >= before,
        f"{100 * share:.2f} % of {variant.name}'s {words} are int8, in {stored.name} "
        f"{100 * before:.2f} %{named}",
        limit=before,
        observed=share,
    )


def _judged(
    stored: Stored, metric: Metric, max_drop: float, budget: float
) -> tuple[list[Verdict], list[QuantStageError]]:
    verdicts: list[Verdict] = []
    errors: list[QuantStageError] = []
    for judge in _judges(stored, metric, max_drop, budget):
        try:
            verdict = judge()
        except QuantStageError as error:
            errors.append(error)
        else:
            recorder.note(verdict, stored.variant)
            verdicts.append(verdict)
    if not verdicts and not errors:
        raise unusable(stored, "it has no number of this variant")
    return verdicts, errors


def _judges(
    stored: Stored, metric: Metric, max_drop: float, budget: float
) -> Iterator[Callable[[], Verdict]]:
    """Those of what the baseline holds; what it does not is noted."""
    row, missing = stored.row, []
    if row.metrics:
        yield lambda: judge_drop_since(stored, metric, max_drop)
    else:
        missing.append("accuracy")
    if not stored.variant.is_fp32:
        if row.latency:
            yield lambda: judge_speedup_since(stored, budget)
        else:
            missing.append("speed-up")
    if row.size:
        yield lambda: judge_size_since(stored)
    if row.int8_share and (row.int8_share.parameters, row.int8_share.macs) != (None, None):
        yield lambda: judge_share_since(stored)
    note = f"{stored.name} holds no {' or '.join(missing)}, so no regression of it can be seen"
    if missing and note not in stored.variant.notes:
        stored.variant.notes.append(note)


def _measure(variant: Variant) -> None:
    """What the baseline that is being saved should hold of a variant."""
    _ = variant.evaluation, variant.size, variant.int8_share
    if not variant.is_fp32:
        variant.pair("given").add_rounds(SAVED_ROUNDS, variant.conditions.timing_seconds)


def _plain(
    stored: Stored, quantity: str, holds: bool, sentence: str, *, limit: float, observed: float
) -> Verdict:
    outcome = Outcome.PASS if holds else Outcome.FAIL
    evidence = {"baseline": stored.baseline.name}
    return Verdict.on(
        stored.variant, GATE, quantity, outcome, sentence,
        limit=limit, observed=observed, evidence=evidence,
    )  # fmt: skip


def _than(then: int, now: int) -> str:
    return "too" if then == now else f"{then / MB:.2f} MB ({then:,} bytes)"
