"""FX graph mode of `torch.ao.quantization`: traces, fuses conv-bn-relu, observes, converts."""

import copy
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import torch

from pytest_quant.errors import in_brief
from pytest_quant.machine import torch_api
from pytest_quant.quantize.flows.example import Example, narrow
from pytest_quant.quantize.flows.float_layers import hide, show, wrong_in_int8
from pytest_quant.quantize.flows.flow import FlowRefusal, refuse
from pytest_quant.quantize.flows.graph_reads import own_reads
from pytest_quant.quantize.flows.lookups import paddings_of, take_any_ids
from pytest_quant.quantize.flows.mode_askers import (
    answer_eval,
    is_the_model,
    mode_askers,
    without_weights,
)
from pytest_quant.quantize.flows.observed_graph import take_off_integers
from pytest_quant.quantize.flows.owners import weight_owners
from pytest_quant.quantize.flows.paddings import put_before_calls, set_aside
from pytest_quant.quantize.flows.reserved_names import keyword_name, reserved_name
from pytest_quant.quantize.flows.saturations import spare_ranges
from pytest_quant.quantize.flows.scalars import part_ranges
from pytest_quant.quantize.flows.softmax import free_scores
from pytest_quant.quantize.flows.tail import free_tail
from pytest_quant.quantize.flows.traced import users_line
from pytest_quant.quantize.flows.unfoldable import unfoldable
from pytest_quant.quantize.layer_observers import LayerObservers
from pytest_quant.quantize.names import kept, roots_of
from pytest_quant.quantize.qconfigs import facts_of_mapped, layer_observers, qconfig_mapping
from pytest_quant.variant.facts import Facts
from pytest_quant.variant.recipe import Recipe

NAME = "fx"
ENGINE = None  # the recipe chooses
OBSERVES_ALL = True
OBSERVED = ("qconfig",)  # what PyTorch sets on modules that it observes


def refusal(module: Any, recipe: Recipe) -> str | None:
    """What is missing, or a name in the model that no graph can have."""
    return missing() or reserved_name(module, OBSERVED)


def missing() -> str | None:
    """FX is deprecated by PyTorch and one day will be gone."""
    why = torch_api.has(torch_api.FX)
    return f"this PyTorch has no FX quantization any more ({why})" if why else None


def prepare(module: Any, recipe: Recipe, engine: str, example: Example) -> Any:
    """The module traced, fused and with observers (static) or fake-quantize modules (QAT)."""
    return prepare_but(kept(module, recipe.keep_fp32), module, recipe, engine, example)


def prepare_but(
    fp32_names: Collection[str], module: Any, recipe: Recipe, engine: str, example: Example
) -> Any:
    """As `prepare`, keeping just these submodules FP32, whatever the recipe says.

    For training the trace is made in train mode, with those modules outside that ask for it; where
    layers inside ask too, and it is the model no longer, their eval mode is traced.
    """
    if recipe.kind != "qat":
        return _traced(fp32_names, module, recipe, engine, example)
    asked = mode_askers(module, example)
    sealed = without_weights(module, asked)
    inside = asked - set(sealed)
    names = {*fp32_names, *sealed}
    spare = copy.deepcopy(module) if inside else None
    try:
        prepared = _traced(names, module, recipe, engine, example)
        if spare is None or is_the_model(rehearsal(prepared), spare, example):
            return prepared
    except FlowRefusal:
        if spare is None:
            raise
    answer_eval(spare, inside)
    return _traced(names, spare, recipe, engine, example)


def _traced(
    fp32_names: Collection[str], module: Any, recipe: Recipe, engine: str, example: Example
) -> Any:
    fx = torch_api.module(torch_api.FX)
    mapping = qconfig_mapping(recipe, engine)
    values = example.by_name(module)
    rebuild = narrow(module, example)
    fp32_names = {*fp32_names, *wrong_in_int8(module)}
    fp32_names.update(unfoldable(module, fp32_names, recipe.kind == "qat"))
    for name in (*fp32_names, *_sealed(module)):
        mapping.set_module_name(name, None)
    whole = list(roots_of(fp32_names))
    hide(module, whole)
    custom = _custom_config(whole)
    given = (*example.args, *example.kwargs.values()) if values is None else values.values()
    inputs = tuple(given)
    paddings = set_aside(module)
    prepare_fx = fx.prepare_qat_fx if recipe.kind == "qat" else fx.prepare_fx
    try:
        prepared = prepare_fx(module, mapping, inputs, prepare_custom_config=custom)
    except Exception as error:
        if isinstance(error, SyntaxError):
            refuse(NAME, keyword_name(module))
        raise FlowRefusal(
            "prepare",
            NAME,
            f"cannot trace quant_model: {in_brief(error)}{users_line(error)}",
            "Rewrite it without control flow that depends on values, keep the submodule out with "
            "keep_fp32, or quantize it yourself with Recipe('custom', build=...).",
        ) from error
    if recipe.kind == "qat":
        set_dropout(prepared, True)
    put_before_calls(prepared, paddings)
    take_off_integers(prepared, inputs)
    free_scores(prepared)
    part_ranges(prepared, mapping.global_qconfig.activation)
    free_tail(prepared, mapping.global_qconfig.activation)
    spare_ranges(prepared)
    _refuse_other_constants(prepared, values or {})
    if rebuild is not None:
        _end_with(prepared, rebuild)
    return prepared


def convert(prepared: Any, example: Example) -> Any:
    """The quantized module."""
    fx = torch_api.module(torch_api.FX)
    prepared.eval()
    set_dropout(prepared, False)
    functional = frozenset(weight_owners(prepared).values())
    own_reads(prepared)
    try:
        paddings = paddings_of(prepared)
        converted = take_any_ids(fx.convert_fx(prepared).eval(), paddings)
    except Exception as error:
        raise FlowRefusal(
            "convert",
            NAME,
            f"could not convert quant_model: {in_brief(error)}",
            "Keep the layer FP32 with keep_fp32.",
        ) from error
    show(converted)
    converted.int8_functional = functional  # layers that are functions in the graph
    return converted


def rehearsal(prepared: Any) -> Any:
    """A copy in eval mode, with functional dropout off too."""
    copied = copy.deepcopy(prepared).eval()
    set_dropout(copied, False)
    return copied


def facts(recipe: Recipe) -> Facts:
    """It takes PyTorch's own modules as one operation each."""
    own = facts_of_mapped(recipe)
    return replace(own, sees_inside=False, floats_tail=True, spares_ranges=True)


def observers(recipe: Recipe, engine: str) -> LayerObservers:
    """As its QConfigs say."""
    return layer_observers(recipe, engine)


def set_dropout(graph_module: Any, on: bool) -> None:
    """Switch functional dropout, which a trace fixes in the graph, on to train or off.

    Attention's own keeps the rate that it was traced with.
    """
    attention = torch.nn.functional.scaled_dot_product_attention
    # function -> keyword and position of what says whether it drops
    drops = {
        torch.dropout: ("train", 2),
        torch.feature_dropout: ("train", 2),
        torch.alpha_dropout: ("train", 2),
        attention: ("dropout_p", 4),
    }
    changed = False
    for node in graph_module.graph.nodes:
        if node.op != "call_function" or (on and not _drops(node.target)):
            continue
        keyword, position = drops.get(node.target, ("training", len(node.args)))
        value: bool | float = on
        if node.target is attention:
            given = node.kwargs.get(keyword, node.args[4] if len(node.args) > 4 else 0.0)
            rate = node.meta.setdefault(keyword, given)
            value = rate if on else 0.0
        if keyword in node.kwargs:
            node.update_kwarg(keyword, value)
            changed = True
        elif len(node.args) > position:
            node.update_arg(position, value)
            changed = True
    if changed:
        graph_module.recompile()


def _drops(function: Any) -> bool:
    """Whether a function is dropout, which is to be trained with though it was traced as off."""
    name = getattr(function, "__name__", "")
    return "dropout" in name or name == "scaled_dot_product_attention"


def _custom_config(not_traced: list[str]) -> Any:
    config = torch_api.module(torch_api.FX_CONFIG).PrepareCustomConfig()
    return config.set_non_traceable_module_names(not_traced)


def is_whole(module: Any) -> bool:
    """Whether FX takes a module of PyTorch's as one operation: layers, attention, encoders."""
    looked_into = (torch.nn.Sequential, torch.nn.ModuleList, torch.nn.ModuleDict)
    own = type(module).__module__.startswith("torch.nn.modules.")
    return own and not isinstance(module, looked_into)


def _sealed(module: Any) -> list[str]:
    """Names of all modules inside those that FX takes as a whole.

    QAT would put fake-quantize modules in there, which are never converted.
    """
    whole = [f"{name}." for name, child in module.named_modules() if name and is_whole(child)]
    return [name for name, _ in module.named_modules() if name.startswith(tuple(whole))]


def _refuse_other_constants(graph_module: Any, values: dict[str, Any]) -> None:
    """Let the traced graph take no other flag or number than it was traced with."""
    graph = graph_module.graph
    placeholders = graph.find_nodes(op="placeholder")
    with graph.inserting_after(placeholders[-1]):
        for node in placeholders:
            if isinstance(value := values.get(node.target, ()), bool | int | float | str | None):
                graph.call_function(must_equal, (node, value, node.target))
    graph_module.recompile()


@torch.fx.has_side_effect
def must_equal(given: Any, traced: Any, name: str) -> None:
    """Refuse an argument that differs from the one that is a constant in the graph."""
    if isinstance(given, torch.Tensor) or given != traced:
        raise TypeError(f"a model of flow fx was traced with {name}={traced!r} and takes no other")


def _end_with(graph_module: Any, rebuild: Any) -> None:
    """Let the traced graph return the model's own output object."""
    graph = graph_module.graph
    output = next(iter(reversed(graph.nodes)))
    with graph.inserting_before(output):
        made = graph.call_function(rebuild, (output.args[0],))
    output.args = (made,)
    graph_module.recompile()
