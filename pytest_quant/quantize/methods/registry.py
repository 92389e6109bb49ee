"""Registry: which method is whose."""

from typing import Any

from pytest_quant.quantize.flows import (
    cast,
    dynamic,
    eager,
    fx,
    onnx_dynamic,
    onnx_file,
    openvino_file,
    parts,
    pt2e,
    weight_only,
)
from pytest_quant.quantize.flows.flow import Flow
from pytest_quant.quantize.method import Attempt, Method
from pytest_quant.quantize.methods.exporting import Exporting
from pytest_quant.quantize.methods.first_that_can import FirstThatCan
from pytest_quant.quantize.methods.observing import Observing
from pytest_quant.quantize.methods.ready_made import ReadyMade
from pytest_quant.quantize.methods.rewriting import Rewriting
from pytest_quant.quantize.methods.swapping import Swapping
from pytest_quant.quantize.methods.users_own import UsersOwn
from pytest_quant.quantize.tuning import CALIBRATION, TRAINING
from pytest_quant.variant.facts import Facts
from pytest_quant.variant.recipe import Recipe

FLOWS: dict[str, Flow] = {"fx": fx, "eager": eager, "pt2e": pt2e, "parts": parts}
# What flow ``auto`` never takes: files that another runtime runs.
ASKED_FOR: dict[str, Flow] = {"onnx": onnx_file}


def method_of(recipe: Recipe) -> Method:
    """How variants after a recipe are made."""
    return METHODS[recipe.kind, recipe.flow]


def facts_of(recipe: Recipe) -> Facts:
    """What can be said of variants after a recipe."""
    return method_of(recipe).facts(recipe)


def flows_of(recipe: Recipe, module: Any) -> tuple[str, ...]:
    """The flows that flow ``auto`` tries on a module, in order; none where there is no choice."""
    method = METHODS[recipe.kind, "auto"]
    return method.order(module) if isinstance(method, FirstThatCan) else ()


def flows_after(recipe: Recipe, module: Any, taken: str) -> tuple[str, ...]:
    """The flows that come after one in the order in which flow ``auto`` tries them on a module."""
    order = flows_of(recipe, module)
    return order[order.index(taken) + 1 :] if taken in order else ()


def _flows(module: Any) -> tuple[str, ...]:
    """The flows that are tried where observers are put in: eager for a model that is made for it."""
    return (*(("eager",) if eager.has_stubs(module) else ()), "fx", "pt2e", "parts")


def _dynamic_flows(module: Any) -> tuple[str, ...]:
    """Of dynamic quantization just one: what eager mode refuses it refuses for all models."""
    return ("pt2e",) if dynamic.refusal() else ("eager",)


_dynamic: dict[str, Attempt] = {"eager": Swapping(), "pt2e": Observing(pt2e)}
_static: dict[str, Attempt] = {name: Observing(flow, CALIBRATION) for name, flow in FLOWS.items()}
_qat: dict[str, Attempt] = {name: Observing(flow, TRAINING) for name, flow in FLOWS.items()}

# Of ``best`` a contest finds the flow; until then it is as the usual one.
_open: dict[str, Method] = {
    "dynamic": FirstThatCan(_dynamic, _dynamic_flows),
    "static": FirstThatCan(_static, _flows, CALIBRATION),
    "qat": FirstThatCan(_qat, _flows, TRAINING),
}

# By kind and flow; those that know no flows have ``auto`` alone.
METHODS: dict[tuple[str, str], Method] = {
    **{(kind, flow): method for kind, method in _open.items() for flow in ("auto", "best")},
    ("weight_only", "auto"): Rewriting(weight_only),
    ("cast", "auto"): Rewriting(cast),
    ("custom", "auto"): UsersOwn(),
    ("artefact", "auto"): ReadyMade(),
    **{("dynamic", name): method for name, method in _dynamic.items()},
    **{("static", name): method for name, method in _static.items()},
    **{("qat", name): method for name, method in _qat.items()},
    **{("static", name): Observing(flow, CALIBRATION) for name, flow in ASKED_FOR.items()},
    **{("qat", name): Observing(flow, TRAINING) for name, flow in ASKED_FOR.items()},
    ("dynamic", onnx_dynamic.NAME): Exporting(onnx_dynamic),
    ("static", openvino_file.NAME): Exporting(openvino_file, CALIBRATION),
}
