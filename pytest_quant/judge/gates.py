"""Gates: the assertion helpers. Each measures what it needs, judges, and returns its Verdict.

A breach raises AssertionError with one sentence. A limit that the call leaves out is taken from
``@pytest.mark.quant(...)``, then the command line, then ini.
"""

from collections.abc import Callable, Mapping
from typing import Any

from pytest_quant.errors import QuantStageError, hidden
from pytest_quant.judge import recorder
from pytest_quant.judge.accuracy_drop import judge_drop
from pytest_quant.judge.flips import judge_flips
from pytest_quant.judge.honesty import refusal, why_refused
from pytest_quant.judge.limits import LIMITS, check_number, checked
from pytest_quant.judge.size_limit import judge_int8_share, judge_size
from pytest_quant.judge.slice_drop import MIN_SAMPLES, judge_slices
from pytest_quant.judge.speed_cell import cell_of
from pytest_quant.judge.speedup import judge_speedup
from pytest_quant.judge.sqnr_limit import judge_sqnr
from pytest_quant.judge.verdict import Outcome, Verdict
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.variant import Variant


def assert_max_accuracy_drop(
    variant: Variant,
    max_drop: float | None = None,
    *,
    relative: bool = False,
    metric: str | None = None,
    min_baseline: float | None = None,
    scope: str = "dataset",
    alpha: float = 0.01,
) -> Verdict:
    """The metric drops from FP32's by at most `max_drop`, exactly, on the eval set as given.

    Args:
        variant: what a fixture such as `quant_static` gave.
        max_drop: in the metric's unit: 0.01 is one point of accuracy; 0 is a limit too. For a metric
            where lower is better it limits the rise.
        relative: the limit is a share of FP32's value: 0.01 keeps 99 % of it.
        metric: which one, when `quant_metric` gives several; default the first.
        min_baseline: FP32 itself must reach this value.
        scope: ``dataset``: the eval set as given, exactly; ``population``: all inputs of which the
            eval set is a random sample, as far as it can prove anything about them.
        alpha: probability of a wrong verdict in the population, at most; up to 0.05.

    Returns:
        The Verdict, with flips and sample count as evidence.

    Raises:
        AssertionError: the limit is breached, or the variant was not quantized.
        QuantStageError: the model could not be evaluated.
        TypeError, ValueError: a wrong argument; says what is allowed.
    """
    __tracebackhide__ = hidden
    check_variant(variant, "assert_max_accuracy_drop")
    limit = _limit("max_accuracy_drop", max_drop, "assert_max_accuracy_drop(variant, 0.01)")
    if min_baseline is not None:
        min_baseline = check_number("min_baseline", min_baseline, "a value of the metric")
    return _conclude(
        variant,
        judge_drop(
            variant,
            limit,
            relative=relative,
            metric=metric,
            min_baseline=min_baseline,
            scope=scope,
            alpha=alpha,
            early_stop=recorder.current().early_stop,
        ),
    )


def assert_min_speedup(
    variant: Variant,
    min_speedup: float | None = None,
    *,
    baseline: str = "given",
    threads: int | None = None,
    batch: int | None = None,
    alpha: float = 1e-3,
) -> Verdict:
    """The variant runs at least `min_speedup` times as fast as FP32, timed side by side here and now.

    Args:
        variant: what a fixture such as `quant_static` gave.
        min_speedup: ratio of the times of one call; leave 5 % of headroom below what you usually see.
        baseline: ``given``: FP32 as `quant_model` gave it, but for work that its outputs do not need and
            tracing has left out of the variant; ``best``: the faster of that and channels_last;
            ``runtime``: of a file, FP32 in the runtime that runs it.
        threads: PyTorch's threads of this cell of the grid; default those of the run.
        batch: samples in one call, cut or repeated from the inputs; default those of the run.
        alpha: probability of a wrong verdict, at most; up to 0.05.

    Returns:
        The Verdict, with interval, rounds and seconds as evidence. INCONCLUSIVE when neither
        side could be proven; under pytest it is reported as such.

    Raises:
        AssertionError: it is proven to be slower, or the variant was not quantized.
        QuantStageError: a model could not be timed.
        TypeError, ValueError: a wrong argument; says what is allowed.
    """
    __tracebackhide__ = hidden
    check_variant(variant, "assert_min_speedup")
    limit = _limit("min_speedup", min_speedup, "assert_min_speedup(variant, 1.5)")
    cell = cell_of(variant.conditions, threads, batch)
    budget = recorder.current().timing_seconds
    return _conclude(
        variant,
        judge_speedup(variant, limit, baseline=baseline, alpha=alpha, budget=budget, cell=cell),
    )


def assert_max_size(
    variant: Variant, *, ratio: float | None = None, mb: float | None = None
) -> Verdict:
    """The tensors that the variant needs to run are small enough.

    Args:
        variant: what a fixture such as `quant_static` gave.
        ratio: of FP32's bytes: 0.3.
        mb: in 10**6 bytes. One of both, or none: then what marker, command line or ini state holds,
            and where they state both, both are judged.

    Returns:
        The Verdict; of MB where both are judged.

    Raises:
        AssertionError: it is larger, or the variant was not quantized.
        QuantStageError: the size cannot be known.
        TypeError, ValueError: both given, or none anywhere, or a wrong number.
    """
    __tracebackhide__ = hidden
    check_variant(variant, "assert_max_size")
    limits = recorder.current().limits
    given = ratio is not None, mb is not None
    if not any(given):
        ratio, mb = limits.get("max_size_ratio"), limits.get("max_size_mb")
    if all(given) or (ratio is None and mb is None):
        raise TypeError(
            f"assert_max_size takes exactly one of ratio and mb, or what marker, command line or ini "
            f"state; given ratio={ratio!r}, mb={mb!r}. For example assert_max_size(variant, ratio=0.3)"
        )
    stated = {"max_size_ratio": ratio, "max_size_mb": mb}
    chosen = {name: checked(name, value) for name, value in stated.items() if value is not None}
    return _conclude_all(variant, chosen)[-1]


def assert_min_int8_share(
    variant: Variant, share: float | None = None, *, of: str = "parameters"
) -> Verdict:
    """At least `share` of the model became int8.

    Args:
        variant: what a fixture such as `quant_static` gave.
        share: in [0, 1]; 0.9 when no limit is given anywhere.
        of: ``parameters`` (stored in fewer bits than FP32's) or ``macs`` (multiply-adds of the
            modules that became int8).

    Raises:
        AssertionError: less became int8; names modules that stayed FP32.
        QuantStageError: the share cannot be known.
        TypeError, ValueError: a wrong argument.
    """
    __tracebackhide__ = hidden
    check_variant(variant, "assert_min_int8_share")
    given = recorder.current().limits.get("min_int8_share", 0.9) if share is None else share
    return _conclude(variant, judge_int8_share(variant, checked("min_int8_share", given), of=of))


def assert_min_sqnr(variant: Variant, db: float | None = None) -> Verdict:
    """The outputs keep at least this signal-to-quantization-noise ratio against FP32's.

    A metric may be lucky; the outputs are not. int8 usually keeps 20 to 40 dB, and a bit is worth 6.

    Args:
        variant: what a fixture such as `quant_static` gave.
        db: decibels, 20 log10(||x|| / ||x - y||) of FP32's outputs x and the variant's y on the first
            eval batch; of several output tensors, such as boxes and scores, each has to keep as much.

    Raises:
        AssertionError: they keep less.
        QuantStageError: either cannot run, or the outputs hold no floating-point numbers.
        TypeError, ValueError: a wrong argument.
    """
    __tracebackhide__ = hidden
    check_variant(variant, "assert_min_sqnr")
    limit = _limit("min_sqnr", db, "assert_min_sqnr(variant, 20)")
    return _conclude(variant, judge_sqnr(variant, limit))


def assert_max_flips(variant: Variant, max_flips: float | None = None) -> Verdict:
    """At most this share of the samples is scored differently from FP32, for better or worse.

    Args:
        variant: what a fixture such as `quant_static` gave.
        max_flips: share of the samples, in [0, 1].

    Raises:
        AssertionError: more flip.
        QuantStageError: the metric does not score each sample, or is a loss or an error, of which every
            sample's score differs; `assert_min_sqnr` limits that.
        TypeError, ValueError: a wrong argument.
    """
    __tracebackhide__ = hidden
    check_variant(variant, "assert_max_flips")
    limit = _limit("max_flips", max_flips, "assert_max_flips(variant, 0.02)")
    return _conclude(variant, judge_flips(variant, limit))


def assert_max_slice_drop(
    variant: Variant,
    max_drop: float | None = None,
    *,
    min_samples: int = MIN_SAMPLES,
    metric: str | None = None,
    scope: str = "dataset",
    alpha: float = 0.01,
) -> Verdict:
    """No slice of the eval set (class, camera, language, ...) drops by more than `max_drop` from FP32.

    Slices are what the fixture `quant_slices` names, by default the classes. In scope ``dataset`` a slice
    FAILs where its drop is over the limit and a one-sided exact sign test on its samples that score
    differently tells it from no loss, with Holm's correction over the slices: of many slices, some drop
    by chance. What is over the limit by no more than chance is told, and is no FAIL.

    Sources: Holm, Scandinavian Journal of Statistics 6 (1979) 65-70; McNemar, Psychometrika 12 (1947)
    153-157, and Dixon and Mood, JASA 41 (1946) 557-566, for the sign test.

    Args:
        variant: what a fixture such as `quant_static` gave.
        max_drop: in the metric's unit: 0.05 is five points of accuracy.
        min_samples: of a slice that is judged, from 1 on; smaller ones are told. Where all are smaller,
            the verdict is INCONCLUSIVE.
        metric: which one, when `quant_metric` gives several; default the first.
        scope: ``dataset``: the eval set as given; ``population``: all inputs of which each slice is a
            random sample. There a slice FAILs whose loss beyond the limit is proven, by Holm's
            procedure; PASS is where each slice is proven to hold it; all else is INCONCLUSIVE.
        alpha: probability that any slice FAILs by chance; in the population also of a wrong PASS; up to
            0.05.

    Returns:
        The Verdict, with the worst slice, its counts and the slices that were too small as evidence.

    Raises:
        AssertionError: a slice loses more; the first sentence names the worst one, its counts and drop.
        QuantStageError: there are no slices, or the metric does not score each sample.
        TypeError, ValueError: a wrong argument; says what is allowed.
    """
    __tracebackhide__ = hidden
    check_variant(variant, "assert_max_slice_drop")
    limit = _limit("max_slice_drop", max_drop, "assert_max_slice_drop(variant, 0.05)")
    return _conclude(
        variant,
        judge_slices(
            variant, limit, min_samples=min_samples, metric=metric, scope=scope, alpha=alpha
        ),
    )


def assert_gates(variant: Variant, **limits: float) -> tuple[Verdict, ...]:
    """All limits at once: all are evaluated and reported, then one failure names those breached.

    Args:
        variant: what a fixture such as `quant_static` gave.
        limits: ``max_accuracy_drop``, ``min_speedup``, ``max_size_ratio``, ``max_size_mb``,
            ``min_int8_share``, ``min_sqnr``, ``max_slice_drop``, ``max_flips``, and those of the
            repo's own gates (`pytest_quant_gates`); to these are added the limits of marker, command
            line and ini that the call does not name, then those that own gates have by themselves.

    Returns:
        A Verdict for each limit.

    Raises:
        AssertionError: one line for each breached limit.
        QuantStageError: something could not be measured; the other limits are judged all the same.
        TypeError, ValueError: an unknown or wrong limit, or none at all.
    """
    __tracebackhide__ = hidden
    check_variant(variant, "assert_gates")
    test = recorder.current()
    stated = {gate.name: gate.limit for gate in test.gates.values() if gate.limit is not None}
    chosen = {name: checked(name, value, test.gates) for name, value in limits.items()}
    chosen = {**stated, **test.limits, **chosen}
    if not chosen:
        raise TypeError(
            f"assert_gates was given no limit, nor is one in marker, command line or ini; allowed: "
            f"{', '.join([*LIMITS, *test.gates])}"
        )
    order = (*LIMITS, *test.gates)
    return _conclude_all(variant, {name: chosen[name] for name in order if name in chosen})


_JUDGES: dict[str, Callable[[Variant, float], Verdict]] = {
    "max_accuracy_drop": lambda variant, limit: judge_drop(
        variant, limit, early_stop=recorder.current().early_stop
    ),
    "min_speedup": lambda variant, limit: judge_speedup(
        variant, limit, budget=recorder.current().timing_seconds
    ),
    "max_size_ratio": lambda variant, limit: judge_size(variant, ratio=limit),
    "max_size_mb": lambda variant, limit: judge_size(variant, mb=limit),
    "min_int8_share": judge_int8_share,
    "min_sqnr": judge_sqnr,
    "max_slice_drop": judge_slices,
    "max_flips": judge_flips,
}


def judged(variant: Variant, name: str, limit: float) -> Verdict:
    """The verdict of a gate, ours or the repo's own, by its name; nothing is recorded or raised."""
    if name in _JUDGES:
        return _JUDGES[name](variant, limit)
    if reason := why_refused(variant):
        return refusal(name, name, variant, limit, reason)
    return recorder.current().gates[name].verdict(variant, limit)


def _conclude(variant: Variant, verdict: Verdict) -> Verdict:
    __tracebackhide__ = hidden
    recorder.note(verdict, variant)
    if verdict.outcome is Outcome.FAIL:
        raise AssertionError(verdict.sentence)
    return verdict


def _conclude_all(variant: Variant, limits: Mapping[str, float]) -> tuple[Verdict, ...]:
    """All are judged, in this order, before the first breach or error is raised."""
    __tracebackhide__ = hidden
    verdicts, errors = [], []
    for name, limit in limits.items():
        try:
            verdict = judged(variant, name, limit)
        except QuantStageError as error:
            errors.append(error)
        else:  # noted at once: whatever ends the test in the next one, this one was judged
            recorder.note(verdict, variant)
            verdicts.append(verdict)
    return all_held(verdicts, errors)


def all_held(verdicts: list[Verdict], errors: list[QuantStageError]) -> tuple[Verdict, ...]:
    """Several verdicts that were noted, where none is a FAIL and all could be reached.

    Raises:
        AssertionError: one line for each breach, then what could not be measured.
        QuantStageError: the first of what could not be measured.
    """
    __tracebackhide__ = hidden
    breached = [verdict.sentence for verdict in verdicts if verdict.outcome is Outcome.FAIL]
    if breached:
        raise AssertionError("\n".join([*breached, *map(str, errors)]))
    if errors:
        raise errors[0]
    return tuple(verdicts)


def _limit(name: str, given: Any, example: str) -> float:
    value = recorder.current().limits.get(name) if given is None else given
    if value is None:
        raise TypeError(
            f"{name} is given neither in the call nor by marker, command line or ini; for example "
            f"{example}"
        )
    return checked(name, value)


def check_variant(given: Any, helper: str) -> None:
    """Refuse what is no Variant, and note that the running test looks at one."""
    if isinstance(given, Variant):
        recorder.looked_at(given)
    if not isinstance(given, Variant):
        shown = repr(given)
        if "\n" in shown:  # a module prints its whole tree
            shown = f"a {type(given).__name__}"
        if isinstance(given, Recipe):
            raise TypeError(
                f"{helper} was given a Recipe; parametrize with indirect=True, so that quant_variant "
                "builds it"
            )
        raise TypeError(
            f"{helper} was given {shown}; expected a Variant, as the fixtures quant_dynamic, "
            "quant_static, quant_qat and quant_variant give it"
        )
