"""Inductor quantizer: what torchao observes and rounds for inductor's int8 kernels of this CPU."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch

from pytest_quant.machine import torch_api
from pytest_quant.machine.cpu import is_arm
from pytest_quant.machine.engines import must_reduce_range
from pytest_quant.quantize.activations import default_observer, observer_class
from pytest_quant.quantize.names import roots_of
from pytest_quant.quantize.observers import looking_up
from pytest_quant.variant.recipe import Recipe

INDUCTOR_ENGINE = "onednn"  # whose int8 kernels inductor calls
EPS = 2**-12  # of the quantizer's scales: below it, inductor's kernels lose the scale

ACTIVATIONS = ("input_activation", "output_activation")


def quantizer_of(recipe: Recipe, fp32_names: Iterable[str]) -> Any:
    """The quantizer that annotates an exported graph, by the recipe.

    Args:
        fp32_names: of the modules that stay FP32.

    Raises:
        QuantStageError: this torchao has none for this CPU.
    """
    quantizer = _arm().ArmInductorQuantizer() if is_arm() else _x86().X86InductorQuantizer()
    if recipe.kind == "dynamic":  # only Linear has a dynamic kernel
        quantizer.set_function_type_qconfig(torch.nn.functional.linear, config_of(recipe))
    else:
        quantizer.set_global(config_of(recipe))
    for name in roots_of(fp32_names):
        quantizer.set_module_name_qconfig(name, None)
    annotate = quantizer.annotate

    def floats_only(graph: Any) -> Any:
        annotated = annotate(graph)
        torch_api.round_no_integers(annotated)
        return annotated

    quantizer.annotate = floats_only
    return quantizer


def config_of(recipe: Recipe) -> Any:
    """The quantizer's own configuration, with the recipe's observer and scheme and the CPU's range.

    Arm's has signed activations and one scale for each weight; its kernels do not saturate.
    """
    wanted = {"is_qat": recipe.kind == "qat", "is_dynamic": recipe.kind == "dynamic"}
    if is_arm():
        usual = _arm().get_default_arm_inductor_quantization_config(**wanted)
    else:
        usual = _x86().get_default_x86_inductor_quantization_config(
            **wanted, reduce_range=must_reduce_range(INDUCTOR_ENGINE)
        )
    if recipe.kind == "dynamic":
        return usual
    if recipe.observer is None and recipe.qscheme is None:
        ends = {name: _looking_up(getattr(usual, name)) for name in ACTIVATIONS}
        return replace(usual, **ends)
    own = replace(
        usual.input_activation,
        qscheme=getattr(torch, recipe.qscheme or "per_tensor_affine"),
        observer_or_fake_quant_ctr=_activation(recipe),
    )
    return replace(usual, input_activation=own, output_activation=own)


def _looking_up(spec: Any) -> Any:
    """A specification of activations whose observer finds its range sooner."""
    if spec is None:
        return None
    module = torch_api.module(torch_api.PT2E_OBSERVER)
    own = looking_up(spec.observer_or_fake_quant_ctr, module)
    return replace(spec, observer_or_fake_quant_ctr=own)


def _activation(recipe: Recipe) -> Any:
    """The recipe's observer as torchao makes it, inside a fake-quantize module for QAT."""
    module = torch_api.module(torch_api.PT2E_OBSERVER)
    observer = observer_class(default_observer(recipe), module)
    if recipe.kind != "qat":
        return observer.with_args(eps=EPS)
    fake = torch_api.module(torch_api.PT2E_FAKE_QUANTIZE)
    return fake.FakeQuantize.with_args(observer=observer, eps=EPS)


def _arm() -> Any:
    return torch_api.module(torch_api.ARM_QUANTIZER)


def _x86() -> Any:
    return torch_api.module(torch_api.X86_QUANTIZER)
