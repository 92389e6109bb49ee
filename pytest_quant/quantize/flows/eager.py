"""Eager mode of `torch.ao.quantization`: for models that hold `QuantStub` and `DeQuantStub`."""

import copy
from typing import Any

import torch

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.machine import torch_api
from pytest_quant.quantize.flows.example import Example
from pytest_quant.quantize.flows.flow import FlowRefusal
from pytest_quant.quantize.flows.lookups import (
    has_embedding_kernel,
    paddings_of,
    take_any_ids,
)
from pytest_quant.quantize.flows.paddings import put_into_hooks, set_aside
from pytest_quant.quantize.flows.traced import users_line
from pytest_quant.quantize.layer_observers import LayerObservers
from pytest_quant.quantize.names import kept, roots_of
from pytest_quant.quantize.qconfigs import facts_of_mapped, layer_observers, qconfig_mapping
from pytest_quant.quantize.second_names import second_names, share_again
from pytest_quant.subject.batches import mapped, tensors_in
from pytest_quant.variant.facts import Facts
from pytest_quant.variant.recipe import Recipe

NAME = "eager"
ENGINE = None  # the recipe chooses
OBSERVES_ALL = False  # functions in the user's forward run in int8 too


def has_stubs(module: Any) -> bool:
    """Whether the model says itself, by stubs, where it goes from float to int8 and back."""
    return any(type(child).__name__ == "QuantStub" for child in module.modules())


def refusal(module: Any, recipe: Recipe) -> str | None:
    """Only stubs tell eager mode where int8 begins and ends."""
    return torch_api.without_eager_mode() or (None if has_stubs(module) else "it has no QuantStub")


def prepare(module: Any, recipe: Recipe, engine: str, example: Example) -> Any:
    """The module fused, and with observers (static) or fake-quantize modules (QAT).

    Fusing is what the model's own ``fuse_model`` does, as torchvision's quantizable models have it;
    without one, conv-bn-relu that follow each other in a Sequential are fused.
    """
    ao = torch_api.ao()
    qat = recipe.kind == "qat"
    fp32_names = kept(module, recipe.keep_fp32)
    mapping = qconfig_mapping(recipe, engine)
    try:
        paddings = set_aside(module)
        _fuse(module, qat)
        put_into_hooks(module, paddings)
        for child in module.modules():
            child.qconfig = mapping.object_type_qconfigs.get(type(child), mapping.global_qconfig)
            if not has_embedding_kernel(child):
                child.qconfig = None
        for name in roots_of(fp32_names):
            _keep(module, name, mapping.global_qconfig)
        if not qat:
            return ao.prepare(module, inplace=True)
        again = second_names(module)
        prepared = ao.prepare_qat(module.train(), inplace=True)
        share_again(prepared, again)
        return prepared
    except QuantStageError:
        raise
    except Exception as error:
        raise FlowRefusal(
            "prepare", NAME, f"could not prepare quant_model: {in_brief(error)}{users_line(error)}"
        ) from error


def convert(prepared: Any, example: Example) -> Any:
    """The quantized module."""
    ao, again = torch_api.ao(), second_names(prepared)
    try:
        paddings = paddings_of(prepared)
        converted = take_any_ids(ao.convert(prepared.eval(), inplace=True), paddings)
        share_again(converted, again)
        return converted
    except Exception as error:
        raise FlowRefusal(
            "convert", NAME, f"could not convert quant_model: {in_brief(error)}{users_line(error)}"
        ) from error


def rehearsal(prepared: Any) -> Any:
    """A copy in eval mode."""
    return copy.deepcopy(prepared).eval()


def facts(recipe: Recipe) -> Facts:
    """It covers what QConfigs do."""
    return facts_of_mapped(recipe)


def observers(recipe: Recipe, engine: str) -> LayerObservers:
    """As its QConfigs say."""
    return layer_observers(recipe, engine)


def _fuse(module: Any, qat: bool) -> None:
    own = getattr(module, "fuse_model", None)
    if callable(own):
        try:
            own(is_qat=qat)
        except TypeError:  # an older model's fuse_model takes no argument
            own()
        return
    ao = torch_api.ao()
    fuse = ao.fuse_modules_qat if qat else ao.fuse_modules
    for groups, sequential in _chains(module):
        fuse(sequential, groups, inplace=True)


def _chains(module: Any) -> list[tuple[list[list[str]], Any]]:
    """For each Sequential, the names of its neighbours that PyTorch can fuse."""
    nn = torch.nn
    norms: dict[type, type] = {
        nn.Conv1d: nn.BatchNorm1d,
        nn.Conv2d: nn.BatchNorm2d,
        nn.Conv3d: nn.BatchNorm3d,
        nn.Linear: nn.BatchNorm1d,
    }
    found = []
    for child in list(module.modules()):
        if type(child) is not nn.Sequential:
            continue
        groups, layers = [], [*child.named_children()]
        for index, (name, layer) in enumerate(layers):
            if type(layer) not in norms:
                continue
            group, after = [name], [*layers[index + 1 : index + 3], ("", None), ("", None)]
            if type(after[0][1]) is norms[type(layer)]:
                group.append(after.pop(0)[0])
            if type(after[0][1]) is nn.ReLU:
                group.append(after[0][0])
            if len(group) > 1:
                groups.append(group)
        if groups:
            found.append((groups, child))
    return found


def _keep(module: Any, name: str, qconfig: Any) -> None:
    """Let a submodule compute in float amid int8: back to float before it, to int8 after it."""
    parent, _, attribute = name.rpartition(".")
    holder = module.get_submodule(parent)
    inner = getattr(holder, attribute)
    for child in inner.modules():
        child.qconfig = None
    setattr(holder, attribute, Floating(inner, qconfig))


class Floating(torch.nn.Module):
    """A module that computes in float, whether its neighbours do or compute in int8."""

    def __init__(self, inner: Any, qconfig: Any) -> None:
        super().__init__()
        ao = torch_api.ao()
        self.inner = inner
        self.after = ao.QuantStub()
        self.after.qconfig = qconfig

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        in_int8 = any(tensor.is_quantized for tensor in tensors_in([args, kwargs]))
        outputs = self.inner(*mapped(args, _to_float), **mapped(kwargs, _to_float))
        is_converted = not hasattr(self.after, "activation_post_process")
        if is_converted and not in_int8:
            return outputs
        return mapped(outputs, lambda t: self.after(t) if t.is_floating_point() else t)


def _to_float(tensor: Any) -> Any:
    return tensor.dequantize() if tensor.is_quantized else tensor
