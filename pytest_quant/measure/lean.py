"""Lean: FP32 without the work that its outputs do not need, as it is left out of a model that is traced."""

import copy
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch

from pytest_quant.errors import listed
from pytest_quant.machine import torch_api
from pytest_quant.quantize.flows.example import Example, example_of, narrow
from pytest_quant.quantize.flows.pt2e import in_float
from pytest_quant.quantize.flows.unrounded import are_alike
from pytest_quant.subject.batches import call
from pytest_quant.subject.output_numbers import numbers_in
from pytest_quant.variant.variant import Variant

NAME = "FP32 without what its outputs do not need"
CALLS = 5  # of which the quickest counts
SLOWER = 2.0  # times as long, from which on it is more than Python's way through modules
SECONDS = 50e-6  # that it is longer by at least
NAMED = 3


@dataclass(frozen=True, slots=True, eq=False)
class Lean:
    """FP32's forward as a graph of what its outputs need.

    Args:
        model: gives FP32's outputs.
        left_out: what FP32 does besides, for a person.
    """

    model: Any
    left_out: str

    @property
    def note(self) -> str:
        """For a report."""
        return (
            f"the forward of quant_model does what its outputs do not need ({self.left_out}); what is "
            "traced leaves it out, so that FP32 is timed beside it without it too"
        )


def lean_beside(variant: Variant) -> Lean | None:
    """What FP32 is to be timed as beside a variant that does not run FP32's own code; None where that is
    FP32 as it is.

    Int8 kernels gain nothing by a sort for a debugger that a tracer has dropped. What is dropped is known
    by name where FX traces the model, else by the time that it takes, where `torch.export` does.
    """
    if variant.is_fp32 or _runs_own_code(variant):
        return None
    return variant.fp32.once("lean", lambda: _lean(variant.fp32))


def _runs_own_code(variant: Variant) -> bool:
    """Whether a class of the user's is left in the variant, or FP32 has none."""
    of_torch = ("torch.", "torchvision.ops.")
    own = {
        type(child)
        for child in variant.fp32.model.modules()
        if not f"{type(child).__module__}.".startswith(of_torch)
    }
    if not own:
        return True
    model = variant.model
    return isinstance(model, torch.nn.Module) and any(
        isinstance(child, tuple(own)) for child in model.modules()
    )


def _lean(fp32: Variant) -> Lean | None:
    with fp32.isolated(), fp32.running(), torch.no_grad():
        for trace in (_by_fx, _by_export):
            module = copy.deepcopy(fp32.model)
            example = example_of(module, fp32.admitted)
            try:
                traced = trace(module, example)
            except Exception:  # which is of no tracer's making
                continue
            return _compared(fp32, traced, by_name=trace is _by_fx)
        return None


def _by_fx(module: Any, example: Example) -> Any:
    if narrow(module, example) is not None:
        raise ValueError("outputs of a class of their own are made by forward")
    traced = torch.fx.GraphModule(module, torch.fx.Tracer().trace(module))
    traced.graph.eliminate_dead_code()
    traced.recompile()
    return traced


def _by_export(module: Any, example: Example) -> Any:
    return in_float(module, example)


def _compared(fp32: Variant, traced: Any, by_name: bool) -> Lean | None:
    inputs, forward = fp32.admitted.first_inputs, fp32.subject.forward
    own, other = _Operators(), _Operators()
    with own:
        expected = call(fp32.model, inputs, forward)
    with other:
        found = call(traced, inputs, forward)
    if not are_alike(list(numbers_in(expected)), list(numbers_in(found))):
        return None
    if by_name and (dropped := own.calls - other.calls):
        return Lean(traced, listed(dropped, NAMED))
    seconds = [
        _quickest(lambda m=model: call(m, inputs, forward)) for model in (fp32.model, traced)
    ]
    longer = seconds[0] - seconds[1]
    if longer < SECONDS or seconds[0] < SLOWER * seconds[1]:
        return None
    return Lean(traced, f"{1e3 * longer:.2g} ms {'in Python' if by_name else 'of it'}")


def _quickest(run: Any) -> float:
    times = []
    for _ in range(CALLS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


class _Operators(torch_api.operator_mode()):  # type: ignore[misc]
    """While entered, counts the calls of operators by name."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = Counter[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))
