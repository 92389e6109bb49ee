"""Faithful: is what a flow has made of a model, before and after conversion, still that model?"""

import copy
import math
from typing import Any

import torch

from pytest_quant.errors import QuantStageError
from pytest_quant.machine import torch_api
from pytest_quant.machine.conditions import Conditions
from pytest_quant.machine.engines import must_reduce_range
from pytest_quant.quantize.flows.flow import Flow, FlowRefusal
from pytest_quant.quantize.flows.unrounded import are_alike, unrounded
from pytest_quant.quantize.parting import Place, where_they_part
from pytest_quant.subject.batches import call, mapped, size_of, taken
from pytest_quant.subject.output_numbers import numbers_in
from pytest_quant.subject.subject import Admitted
from pytest_quant.variant.facts import Facts
from pytest_quant.variant.recipe import Recipe
from pytest_quant.variant.running import running_as_built
from pytest_quant.variant.sqnr import sqnr

# How much less of FP32 int8 kernels may keep than their rehearsal in float, in dB. In 28 classifiers
# they lie between 3 dB above and 2 dB below; those that are wrong, 20 dB below.
BELOW = 10.0
ENOUGH = 25.0  # dB: whatever the rehearsal keeps, kernels as near to it as that are right
EQUAL = 60.0  # dB: FP32 that does not depend on who shares the batch has more than 110
SAMPLES = 8  # that are rehearsed


class AnotherModel(FlowRefusal):
    """Kernels compute something else than what they were rehearsed to.

    Args:
        place: where, if it is known.
    """

    def __init__(
        self, stage: str, flow: str, reason: str, remedy: str, place: Place | None
    ) -> None:
        super().__init__(stage, flow, reason, remedy)
        self.place = place


def refuse_another_model(prepared: Any, admitted: Admitted, flow: Flow) -> None:
    """Refuse what a flow has made another model of while it traced and fused.

    FX gives a layer that is called with and without a ReLU behind it the ReLU in both places, for
    example. Observers of a copy look on, so that those of the model itself see no eval data.

    Raises:
        FlowRefusal: when its outputs for the first eval batch are not FP32's, or are random.
    """

    def run(model: Any) -> Any:
        return call(model, admitted.first_inputs, admitted.subject.forward)

    with torch.no_grad():
        expected = list(numbers_in(run(admitted.module)))
    try:
        outputs, is_random = unrounded(flow.rehearsal(prepared), run)
    except QuantStageError:
        raise
    except Exception:  # whatever cannot run is refused where it is to run
        return
    if is_random:
        raise FlowRefusal(
            "prepare",
            flow.NAME,
            "makes a model that is random: it draws random numbers in eval mode",
            "A module that asks self.training was traced in train mode.",
        )
    if not are_alike(expected, outputs):
        raise FlowRefusal(
            "prepare",
            flow.NAME,
            "computes something else than quant_model: before anything is rounded, its outputs differ from "
            "FP32's",
            "A layer that is used in two ways, or tensors that are changed in place, may be the reason.",
        )


def refuse_unlike_rehearsal(
    converted: Any, rehearsed: Any, admitted: Admitted, recipe: Recipe, facts: Facts, largest: Any
) -> tuple[str, ...]:
    """Refuse a converted model whose kernels do something else than what was rehearsed in float.

    PyTorch's int8 PReLU multiplies positive values too, for example. No fixed distance tells such a
    kernel from rounding, so the yardstick is what the rehearsal, which rounds alike, keeps of the
    float model.

    Args:
        rehearsed: that of the converted model; see `rehearsal`.
        largest: inputs of the largest batch that is evaluated or timed.

    Returns:
        A note where kernels are known to saturate on this CPU, which is named and not refused.

    Raises:
        AnotherModel: names the operation where they part, if it is known.
    """

    def run(model: Any, inputs: Any) -> Any:
        return call(model, inputs, admitted.subject.forward)

    size = size_of(largest)
    with torch.no_grad():
        whole = run(admitted.module, largest)
        counts = [
            count
            for count in (SAMPLES, 1)
            if count < size and _is_alike(whole, count, admitted, largest)
        ]
        few = taken(largest, SAMPLES) if SAMPLES in counts else largest
        expected = run(rehearsed, few)
        kept = _sqnr(run(_before_rounding(rehearsed, admitted), few), expected)
        limit = min(kept, ENOUGH + BELOW) - BELOW
        if not math.isfinite(limit):
            return ()
    with running_as_built(converted, recipe, facts):
        found = {size: _sqnr(expected, _rows(run(converted, largest), size_of(few)))}
        for count in counts:
            alone = run(converted, taken(largest, count))
            found[count] = _sqnr(_rows(expected, count), _rows(alone, count))
    known = [(count, db) for count, db in found.items() if not math.isnan(db)]
    count, db = min(known, key=lambda item: item[1], default=(size, math.inf))
    if db >= limit:
        return ()
    if must_reduce_range(str(recipe.engine)):
        return (
            f"on this CPU, without VNNI, the int8 kernels of engine {recipe.engine} saturate: they are "
            f"{db:.0f} dB from the same model rounded in float, which is {kept:.0f} dB from FP32",
        )
    where = where_they_part(rehearsed, converted, lambda model: run(model, few), db)
    raise AnotherModel(
        "convert",
        recipe.flow,
        f"computes something else than quant_model{f' at {where}' if where else ''}: in a batch of {count} "
        f"the int8 kernels are {db:.0f} dB from the same model rounded in float, which is {kept:.0f} dB "
        "from FP32",
        f"{'Keep that part FP32 with keep_fp32, or t' if where else 'T'}ake another flow.",
        where,
    )


def largest_inputs(admitted: Admitted, conditions: Conditions) -> Any:
    """Inputs of the largest batch that is evaluated or timed, as far as known before either."""
    first, timed = admitted.first_inputs, admitted.timed_inputs(conditions.latency_batch)
    return timed if size_of(timed) > size_of(first) else first


def _before_rounding(rehearsed: Any, admitted: Admitted) -> Any:
    """What was rounded: a trained model without its rounding, else FP32."""
    trained = any(
        hasattr(child, "disable_fake_quant")
        for child in torch_api.observing_modules(rehearsed).values()
    )
    if not trained:
        return admitted.module
    copied = copy.deepcopy(rehearsed)
    torch_api.round_nothing(copied)
    return copied


def _is_alike(whole: Any, count: int, admitted: Admitted, largest: Any) -> bool:
    """Whether FP32 takes the first samples without the others, and gives the same for them."""
    if not all(t.ndim and t.shape[0] == size_of(largest) for t in numbers_in(whole)):
        return False
    try:
        alone = call(admitted.module, taken(largest, count), admitted.subject.forward)
        return sqnr(_rows(whole, count), _rows(alone, count)) > EQUAL
    except Exception:  # a model that takes but one size
        return False


def _sqnr(reference: Any, outputs: Any) -> float:
    """NaN for tensors of other shapes: of a model that leaves out boxes with low scores, rounding changes
    how many there are."""
    shapes = [[tensor.shape for tensor in numbers_in(each)] for each in (reference, outputs)]
    return sqnr(reference, outputs) if shapes[0] == shapes[1] else math.nan


def _rows(outputs: Any, count: int) -> Any:
    return mapped(
        list(numbers_in(outputs)), lambda tensor: tensor[:count] if tensor.ndim else tensor
    )
