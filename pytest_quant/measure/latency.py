"""Latency of a variant beside FP32: which models, which inputs, under which conditions."""

import copy
import cProfile
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.machine.cell import Cell
from pytest_quant.machine.conditions import (
    Conditions,
    alone_on_this_machine,
    engine_set,
    known_warnings_silenced,
)
from pytest_quant.machine.global_state import given_back
from pytest_quant.machine.turns import own_turn
from pytest_quant.measure.lean import NAME as LEAN
from pytest_quant.measure.lean import lean_beside
from pytest_quant.measure.scored import blamed
from pytest_quant.measure.timed_inputs import TimedCall
from pytest_quant.runtimes.fp32_file import fp32_file
from pytest_quant.subject.batches import mapped, size_of
from pytest_quant.variant.rounds import Pair, Side
from pytest_quant.variant.shared_rounds import SharedRounds
from pytest_quant.variant.variant import Variant

BEST_ROUNDS = 13  # to know which memory format of FP32 is faster
BEST_SECONDS = 10.0

# Where the workers of a run share the rounds of a variant and a baseline, for such inputs; None where they
# do not.
Sharing = Callable[[Variant, str, Cell | None, Any], SharedRounds | None]


def make_pair(
    variant: Variant,
    baseline: str,
    conditions: Conditions,
    cell: Cell | None = None,
    sharing: Sharing | None = None,
) -> Pair:
    """The pair of FP32 and a variant on the inputs of one timed call; nothing is timed yet.

    Args:
        variant: the second of the pair. FP32 itself stands for its own copy (``given``, which
            tells how well the machine can be timed) or its copy in channels_last (``best``).
        baseline: ``given``: FP32 as the user gave it, beside a variant that was traced without work that
            its outputs do not need (see `lean_beside`); ``best``: FP32 in the faster memory format;
            ``runtime``: FP32 in the runtime that runs a file.
        conditions: threads, samples of one call.
        cell: other ones than those of the conditions.
        sharing: where rounds are shared with other workers of the run; None where each times for itself.

    Raises:
        QuantStageError: when either model cannot run on the inputs.
    """
    in_channels_last = (
        baseline == "best" and not variant.is_fp32 and variant.format_gain_at(cell) > 1
    )
    of_runtime = fp32_file(variant) if baseline == "runtime" else None
    lean = None if baseline == "runtime" else lean_beside(variant)
    if cell is not None:
        conditions = replace(conditions, threads=cell.threads, latency_batch=cell.batch)
    with variant.isolated():
        variant.refuse_moved_fp32()
        with _threads(conditions.threads):
            inputs = inputs_b = variant.admitted.timed_inputs(conditions.latency_batch)
            fp32 = variant.fp32
            model_a, name = (
                (_as_made(fp32), "FP32 as given")
                if lean is None
                else (_fresh(fp32, lean.model), LEAN)
            )
            model_b = _as_made(variant)
            if lean is not None and lean.note not in fp32.notes:
                fp32.notes.append(lean.note)
            key = baseline if lean is None else f"{baseline}, lean"
            shared = None if sharing is None else sharing(variant, key, cell, inputs)
            if of_runtime is not None:
                model_a, name = copy.deepcopy(of_runtime), f"FP32 in {of_runtime.runtime}"
            if variant.is_fp32 and baseline == "best":
                model_b, inputs_b = channels_last(model_b), channels_last(inputs)
            elif in_channels_last:
                model_a, inputs = channels_last(model_a), channels_last(inputs)
                name = f"{'FP32' if lean is None else LEAN} in channels_last, the fastest FP32"
            return _pair(
                fp32, model_a, inputs, variant, model_b, inputs_b, conditions, name, shared
            )


def channels_last_speedup(fp32: Variant, cell: Cell | None = None) -> float:
    """How much faster FP32 is in channels_last than as given; 1.0 for a model without Conv2d."""
    import torch

    if not any(isinstance(module, torch.nn.Conv2d) for module in fp32.model.modules()):
        return 1.0
    pair = fp32.pair("best", cell)
    pair.add_rounds(BEST_ROUNDS, min(BEST_SECONDS, fp32.conditions.timing_seconds / 3))
    return pair.ratio


def channels_last(value: Any) -> Any:
    """A module, or a nest of inputs, with its four-dimensional tensors in channels_last."""
    import torch

    if isinstance(value, torch.nn.Module):
        return value.to(memory_format=torch.channels_last)
    return mapped(
        value, lambda t: t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t
    )


def _pair(
    fp32: Variant,
    model_a: Any,
    inputs_a: Any,
    variant: Variant,
    model_b: Any,
    inputs_b: Any,
    conditions: Conditions,
    name: str,
    shared: SharedRounds | None = None,
) -> Pair:
    def remade() -> Pair:
        with variant.isolated(), _threads(conditions.threads):
            fresh_a, fresh_b = _fresh(fp32, model_a), _fresh(variant, model_b)
            return _pair(fp32, fresh_a, inputs_a, variant, fresh_b, inputs_b, conditions, name)

    step = f"time {variant.subject.label} {variant.name}"

    @contextmanager
    def hold() -> Iterator[None]:
        with (
            own_turn(),  # which is given back while others time
            alone_on_this_machine(conditions.tell) as beside,
            variant.isolated(),
            _no_garbage_collection(),
            _untraced(),
            variant.timed("time"),
            conditions.progress(step, None, "rounds") as pair.advance,
        ):
            variant.refuse_moved_fp32()
            if beside is not None and beside not in variant.notes:
                variant.notes.append(beside)
            others = nullcontext() if shared is None else shared.joined(pair)
            with _threads(conditions.threads), others:
                yield

    a = _tried(fp32, model_a, inputs_a, "FP32")
    b = _tried(variant, model_b, inputs_b, variant.name)
    pair = Pair(
        Side(a, fp32.running, fresh=a.fresh),
        Side(b, variant.running, fresh=b.fresh),
        remade,
        hold,
        baseline=name,
        batch=size_of(inputs_a),
    )
    return pair


def _tried(variant: Variant, model: Any, inputs: Any, who: str) -> TimedCall:
    """The call of one model, which is tried, so that it fails here or never."""
    call = TimedCall(model, inputs, variant.subject.forward)
    try:
        with variant.running():
            why = call.check()
    except Exception as error:
        taken = "" if variant.is_fp32 else ", which FP32 takes"  # as was tried before
        remedy = blamed(variant) or "Check quant_latency_inputs."
        raise QuantStageError(
            "time",
            f"{who} could not run on the inputs of one timed call{taken}: {in_brief(error)}. {remedy}",
        ) from error
    if why:
        raise QuantStageError(
            "time",
            f"{who} cannot be timed: {why}. In use inputs are new ones; leave out what keeps outputs.",
        )
    return call


def _as_made(variant: Variant) -> Any:
    """A fresh copy of a variant's model in the modes that it was made in, without hooks of tests."""
    with variant.held():
        return variant.without_later_hooks(_fresh(variant, variant.model))


def _fresh(variant: Variant, model: Any) -> Any:
    """A copy that has never run, in new memory, made within the variant's own engine.

    Never run, because an int8 convolution keeps the kernel that was chosen for the first batch it
    saw: ResNet-18 that had been evaluated in batches of 32 was 1.2x as fast as FP32 on single images
    where a fresh copy was 5.2x. A module that cannot be copied is built anew, another callable is
    taken as it is.
    """
    import torch

    if not isinstance(model, torch.nn.Module):
        return model
    recipe = variant.recipe
    named = None if recipe is None else recipe.engine
    engine = nullcontext() if named is None else engine_set(named)
    with engine, known_warnings_silenced():
        try:
            return copy.deepcopy(model)
        except Exception:
            if recipe is None or recipe.build is None:
                raise
            with given_back():
                return recipe.build(copy.deepcopy(variant.fp32.model))


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """With so many of PyTorch's threads; `isolated` sets those of the variant's own conditions."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _untraced() -> Iterator[None]:
    """Without tracing and profiling of Python, as by coverage or a debugger: it slows the user's own
    forward, and not what was traced or compiled of it."""
    trace, profile = sys.gettrace(), sys.getprofile()
    sys.settrace(None)
    sys.setprofile(None)
    try:
        yield
    finally:
        sys.settrace(trace)
        if isinstance(profile, cProfile.Profile):  # which cannot be called, before Python 3.12
            profile.enable()
        else:
            sys.setprofile(profile)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
