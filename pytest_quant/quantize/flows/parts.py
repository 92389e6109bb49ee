"""Parts: FX graph mode on each submodule that it can trace, where it cannot trace the whole model."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from pytest_quant.errors import QuantStageError
from pytest_quant.machine import torch_api
from pytest_quant.quantize.flows import fx
from pytest_quant.quantize.flows.example import Example, calls_of
from pytest_quant.quantize.flows.flow import FlowRefusal, observers_of
from pytest_quant.quantize.flows.reads import reads_of
from pytest_quant.quantize.layer_observers import LayerObservers
from pytest_quant.quantize.names import kept
from pytest_quant.subject.modes import in_eval
from pytest_quant.variant.facts import Facts
from pytest_quant.variant.recipe import Recipe

NAME = "parts"
ENGINE = None  # the recipe chooses
OBSERVES_ALL = True


def refusal(module: Any, recipe: Recipe) -> str | None:
    """What FX needs, and a model with submodules."""
    if reason := fx.missing():
        return reason
    return None if any(True for _ in module.children()) else "the model has no submodules"


def prepare(module: Any, recipe: Recipe, engine: str, example: Example) -> Any:
    """The model as it is, with each outermost submodule replaced that FX can trace."""
    fp32_names = kept(module, recipe.keep_fp32)
    calls = example.parts or _calls(module, example)
    layers = [name for name, child in module.named_modules() if name and fx.is_whole(child)]
    # whose weight the model reads, if only its type; a traced part has none of that name
    fp32_names |= reads_of(module, layers, lambda: _call(module, example)).keys()
    done: dict[int, tuple[Any, Any]] = {}

    def prepared(name: str, child: Any) -> Any:
        if name in fp32_names or not any(True for _ in child.parameters()):
            return child
        if isinstance(child, torch_api.batchnorm_base()):
            return child  # left alone by a layer that stays FP32, it would only round
        inner = {kept[len(name) + 1 :] for kept in fp32_names if kept.startswith(f"{name}.")}
        whole = fx.is_whole(child)
        if name in calls and not (whole and _is_called_by_name(calls[name])):
            try:
                # a layer inside a Sequential, so that FX sees a layer, not what it does inside
                part = torch.nn.Sequential(copy.deepcopy(child)) if whole else copy.deepcopy(child)
                made = fx.prepare_but(inner, part, recipe, engine, calls[name])
            except QuantStageError:
                made = None
            if made is not None and observers_of(made):
                return made
        if whole:  # PyTorch's attention reads its own layers' attributes
            return child
        _replace(child, lambda deeper, grandchild: prepared(f"{name}.{deeper}", grandchild), done)
        return child

    _replace(module, prepared, done)
    if not observers_of(module):
        raise FlowRefusal("prepare", NAME, "found no submodule that FX can trace and quantize")
    return module


def convert(prepared: Any, example: Example) -> Any:
    """The model with each prepared part quantized."""
    done: dict[int, tuple[Any, Any]] = {}

    def converted(_: str, child: Any) -> Any:
        if is_part(child) and observers_of(child):
            return fx.convert(child, example)
        _replace(child, converted, done)
        return child

    _replace(prepared.eval(), converted, done)
    return prepared


def rehearsal(prepared: Any) -> Any:
    """A copy in eval mode, with functional dropout of the parts off too."""
    copied = copy.deepcopy(prepared).eval()
    for part in _parts(copied):
        fx.set_dropout(part, False)
    return copied


def facts(recipe: Recipe) -> Facts:
    """Those of FX, of each part."""
    return replace(fx.facts(recipe), by_parts=True)


def observers(recipe: Recipe, engine: str) -> LayerObservers:
    """As FX does."""
    return fx.observers(recipe, engine)


def is_part(module: Any) -> bool:
    """Whether a submodule is one that was traced."""
    return isinstance(module, torch.fx.GraphModule)


def _is_called_by_name(example: Example) -> bool:
    """Whether a call is more than one positional argument, which is all that a Sequential takes."""
    return len(example.args) != 1 or bool(example.kwargs)


def _calls(module: Any, example: Example) -> dict[str, Example]:
    """How the model calls each of its submodules; in eval mode, so that nothing is learned from it."""
    run = partial(_call, module, example)
    return calls_of(dict(module.named_modules()), run, alike=True)


def _call(module: Any, example: Example) -> None:
    """One call in eval mode."""
    with in_eval(module), torch.no_grad():
        module(*example.args, **example.kwargs)


def _replace(
    parent: Any, change: Callable[[str, Any], Any], done: dict[int, tuple[Any, Any]]
) -> None:
    """Change each child; one that is shared is changed once and put wherever it was.

    Args:
        done: id of a child -> (the child, so that its id stays its own, and what it became).
    """
    for name, child in parent._modules.items():  # named_children would leave out the second name
        if child is None:
            continue
        if id(child) not in done:
            done[id(child)] = (child, change(name, child))
        parent._modules[name] = done[id(child)][1]


def _parts(module: Any) -> Iterator[Any]:
    return filter(is_part, module.modules())
