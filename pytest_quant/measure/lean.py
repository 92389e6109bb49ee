"""Lean: FP32 without the work that its outputs do not need, as it is left out of a model that is traced."""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from pytest_quant.errors import listed
from pytest_quant.measure.unneeded import unneeded_share
from pytest_quant.quantize.flows.example import Example, example_of, narrow
from pytest_quant.quantize.flows.exported import Exported
from pytest_quant.quantize.flows.pt2e import in_float
from pytest_quant.quantize.flows.unrounded import are_alike
from pytest_quant.runtimes.artefact import Artefact
from pytest_quant.subject.batches import call
from pytest_quant.subject.output_numbers import numbers_in
from pytest_quant.variant.variant import Variant

NAME = "FP32 without what its outputs do not need"
CALLS = 7  # of each model, of which the quickest counts
BUDGET = 1.0  # seconds for the calls of a model, after the second
NOTABLE = 1.1  # times as long, from which on operators that are left out matter
SLOWER = 2.0  # times as long, from which on it is more than Python's way through modules
SECONDS = 50e-6  # that it is longer by at least
LITTLE = 0.4  # of a call's time, below which what is not needed cannot take half of it
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
    """What FP32 is to be timed as beside a variant that was traced; None where that is FP32 as it is.

    Int8 kernels gain nothing by a sort for a debugger that a tracer has dropped. What is dropped is known
    by name where FX traces the model, else by the time that it takes, where `torch.export` does.
    """
    if variant.is_fp32 or not isinstance(variant.model, Artefact | torch.fx.GraphModule | Exported):
        return None
    own = {type(each) for each in variant.fp32.model.modules() if not _is_of_torch(type(each))}
    if not own:
        return None
    inside = variant.model.modules() if isinstance(variant.model, torch.nn.Module) else ()
    kept = {each for each in own if any(isinstance(child, each) for child in inside)}
    key = f"lean beside {sorted(f'{each.__module__}.{each.__qualname__}' for each in kept)}"
    return variant.fp32.once(key, lambda: _lean(variant.fp32, tuple(kept)))


def _is_of_torch(kind: type) -> bool:
    return f"{kind.__module__}.".startswith(("torch.", "torchvision.ops."))


def _lean(fp32: Variant, kept: tuple[type, ...]) -> Lean | None:
    """Traced but for modules of the kinds that the variant has too."""
    inputs, forward = fp32.admitted.first_inputs, fp32.subject.forward
    given = partial(call, fp32.model, inputs, forward)
    with fp32.isolated(), fp32.running(), torch.no_grad():
        for trace in (partial(_by_fx, kept), _by_export):
            if trace is _by_export and unneeded_share(given) < LITTLE:
                return None  # an export takes as long as the build did
            module = copy.deepcopy(fp32.model)
            example = example_of(module, fp32.admitted)
            try:
                whole, lean = trace(module, example)
                runs = [given, *(partial(call, each, inputs, forward) for each in (whole, lean))]
                expected, *found = [list(numbers_in(run())) for run in runs]
            except Exception:  # of a model that is not traced, or not called as the user calls it
                continue
            if all(are_alike(expected, each) for each in found):
                return _compared(whole, lean, runs)
            return None
    return None


def _by_fx(kept: tuple[type, ...], module: Any, example: Example) -> tuple[Any, Any]:
    """The module's graph with and without what its outputs do not need."""
    if narrow(module, example) is not None:
        raise ValueError("outputs of a class of their own are made by forward")
    whole = torch.fx.GraphModule(module, _Tracer(kept).trace(module))
    lean = torch.fx.GraphModule(whole, copy.deepcopy(whole.graph))
    lean.graph.eliminate_dead_code()
    lean.recompile()
    return whole, lean


def _by_export(module: Any, example: Example) -> tuple[Any, Any]:
    made = in_float(module, example)
    return made, made


class _Tracer(torch.fx.Tracer):
    def __init__(self, kept: tuple[type, ...]) -> None:
        super().__init__()
        self.kept = kept

    def is_leaf_module(self, m: Any, module_qualified_name: str) -> bool:
        return isinstance(m, self.kept) or super().is_leaf_module(m, module_qualified_name)


def _compared(whole: Any, lean: Any, runs: Sequence[Callable[[], Any]]) -> Lean | None:
    """By the time that each takes: FP32 as it is, its graph, and that without what is not needed."""
    given, traced, least = _quickest(runs)
    if whole is not lean and traced >= NOTABLE * least:
        left = (node for node in whole.graph.nodes if node.op.startswith("call"))
        needed = {node.name for node in lean.graph.nodes}
        names = dict.fromkeys(_name(node) for node in left if node.name not in needed)
        if names:
            return Lean(lean, listed(names, NAMED))
    if given - least >= SECONDS and given >= SLOWER * least:
        how = "of it" if whole is lean else "in Python"
        return Lean(lean, f"{1e3 * (given - least):.2g} ms {how}")
    return None


def _name(node: Any) -> str:
    return str(getattr(node.target, "__name__", node.target))


def _quickest(runs: Sequence[Callable[[], Any]]) -> list[float]:
    """The least seconds of each, called in turns."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(CALLS):
        for run, known in zip(runs, times, strict=True):
            start = time.perf_counter()
            run()
            known.append(time.perf_counter() - start)
        if len(times[0]) > 1 and max(map(sum, times)) > BUDGET:
            break
    return [min(known) for known in times]
