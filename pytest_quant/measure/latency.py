"""Latency of a variant beside FP32: which models, which inputs, under which conditions."""

import copy
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pytest_quant.batches import call, mapped, on_cpu, size_of, taken
from pytest_quant.conditions import Conditions, alone_on_this_machine, isolated
from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.measure.rounds import Pair, Side
from pytest_quant.variant import Variant

BEST_ROUNDS = 13  # to know which memory format of FP32 is faster
BEST_SECONDS = 10.0


def make_pair(variant: Variant, baseline: str, conditions: Conditions) -> Pair:
    """The pair of FP32 and a variant on the inputs of one timed call; nothing is timed yet.

    Args:
        variant: the second of the pair. FP32 itself stands for its own copy (``given``, which
            tells how well the machine can be timed) or its copy in channels_last (``best``).
        baseline: ``given``: FP32 as the user gave it; ``best``: FP32 in the faster memory format.
        conditions: threads, samples of one call.

    Raises:
        QuantStageError: when either model cannot run on the inputs.
    """
    inputs = latency_inputs(variant, conditions)
    fp32 = variant.fp32
    if variant.is_fp32:
        copied = copy.deepcopy(fp32.model)
        if baseline == "best":
            copied, inputs_b = channels_last(copied), channels_last(inputs)
        else:
            inputs_b = inputs
        return _pair(
            fp32, fp32.model, inputs, variant, copied, inputs_b, conditions, "FP32 as given"
        )
    if baseline == "best" and fp32.format_gain > 1:
        model = channels_last(copy.deepcopy(fp32.model))
        name = "FP32 in channels_last, the fastest FP32"
        return _pair(
            fp32, model, channels_last(inputs), variant, variant.model, inputs, conditions, name
        )
    return _pair(
        fp32, fp32.model, inputs, variant, variant.model, inputs, conditions, "FP32 as given"
    )


def channels_last_speedup(fp32: Variant) -> float:
    """How much faster FP32 is in channels_last than as given; 1.0 for a model without Conv2d."""
    import torch

    if not any(isinstance(module, torch.nn.Conv2d) for module in fp32.model.modules()):
        return 1.0
    pair = fp32.pair("best")
    pair.add_rounds(BEST_ROUNDS, BEST_SECONDS)
    return pair.ratio


def channels_last(value: Any) -> Any:
    """A module, or a nest of inputs, with its four-dimensional tensors in channels_last."""
    import torch

    if isinstance(value, torch.nn.Module):
        return value.to(memory_format=torch.channels_last)
    return mapped(
        value, lambda t: t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t
    )


def latency_inputs(variant: Variant, conditions: Conditions) -> Any:
    """The inputs of one timed call: `quant_latency_inputs`, else the first eval batch."""
    own = variant.subject.latency_inputs
    inputs = variant.admitted.first_inputs if own is None else on_cpu(own)
    if conditions.latency_batch is not None:
        inputs = taken(inputs, conditions.latency_batch)
    return inputs


def _pair(
    fp32: Variant,
    model_a: Any,
    inputs_a: Any,
    variant: Variant,
    model_b: Any,
    inputs_b: Any,
    conditions: Conditions,
    name: str,
) -> Pair:
    def remade() -> Pair:
        with variant.running():
            fresh_b = _fresh(variant, model_b)
        fresh_a = copy.deepcopy(model_a)
        return _pair(fp32, fresh_a, inputs_a, variant, fresh_b, inputs_b, conditions, name)

    @contextmanager
    def hold() -> Iterator[None]:
        with alone_on_this_machine(), isolated(conditions), _no_garbage_collection():
            yield

    return Pair(
        Side(_timed_call(fp32, model_a, inputs_a, "FP32"), fp32.running),
        Side(_timed_call(variant, model_b, inputs_b, variant.name), variant.running),
        remade,
        hold,
        baseline=name,
        batch=size_of(inputs_a),
    )


def _timed_call(variant: Variant, model: Any, inputs: Any, who: str) -> Callable[[], Any]:
    """One call as a function without arguments, tried once, so that it fails here or never."""
    own = variant.subject.forward
    try:
        with variant.running():
            call(model, inputs, own)
    except Exception as error:
        raise QuantStageError(
            "time",
            f"{who} could not run on the inputs of one timed call: {in_brief(error)}. Check "
            "quant_latency_inputs.",
        ) from error
    return lambda: call(model, inputs, own)


def _fresh(variant: Variant, model: Any) -> Any:
    """The same model in new memory, made within its own engine; a callable that cannot be copied
    is built anew."""
    try:
        return copy.deepcopy(model)
    except Exception:
        recipe = variant.recipe
        if recipe is None or recipe.build is None:
            raise
        return recipe.build(copy.deepcopy(variant.fp32.model))


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    gc.collect()
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
