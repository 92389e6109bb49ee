"""FP32 copy: the user's model as all work with it, on the CPU, in eval mode, as float32."""

import copy
from typing import Any

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.machine import torch_api
from pytest_quant.subject.baked import bake_in, copies_of_computed
from pytest_quant.subject.batches import described, other_float
from pytest_quant.subject.own_casts import follow_float32
from pytest_quant.subject.quantized_already import refuse_quantized
from pytest_quant.subject.transposed import as_linear


def fp32_copy(model: Any) -> tuple[Any, list[str]]:
    """A copy of the user's model on the CPU, in eval mode, as float32; and what had to be changed.

    Raises:
        QuantStageError: it is no module that can be copied and quantized; says what to give instead.
    """
    import torch

    notes: list[str] = []
    _refuse_programs(model)
    if not isinstance(model, torch.nn.Module):
        raise QuantStageError(
            "fixture",
            f"quant_model gave {described(model)}; expected a trained FP32 "
            "torch.nn.Module, or Subject(model, name='...'). Override the fixture quant_model.",
        )
    if torch_api.is_compiled(model):
        raise QuantStageError(
            "fixture",
            "quant_model gave a model compiled by torch.compile, which cannot be copied "
            "and quantized; return the module that was compiled.",
        )
    refuse_quantized(model)
    if model.training:
        notes.append("quant_model came in train mode; its copy was put into eval mode")
    tensors = [*model.parameters(), *model.buffers()]
    _refuse_weightless(model)
    if any(tensor.device.type != "cpu" for tensor in tensors):
        notes.append("quant_model came on another device; its copy was put on the CPU")
    if any(map(other_float, tensors)):
        notes.append("quant_model was not float32; its copy was cast to float32")
    try:
        copied = copy.deepcopy(model, copies_of_computed(model)).cpu().float().eval()
    except Exception as error:
        raise QuantStageError(
            "fixture",
            f"quant_model cannot be copied ({in_brief(error)}), and we never change "
            "yours; make copy.deepcopy(model) work.",
        ) from error
    if {"float16", "bfloat16"} & set(map(other_float, tensors)) and follow_float32(copied):
        notes[-1] += ", and where its code casts to half precision, the copy casts to float32"
    notes += bake_in(copied)
    notes += as_linear(copied)
    return copied, notes


def _refuse_weightless(model: Any) -> None:
    """Refuse a model of which a tensor has a shape and no values."""
    import torch

    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.device.type == "meta":
            raise QuantStageError(
                "fixture",
                f"quant_model has no weights: {name} is on the device meta, which holds shapes alone. Load "
                "them first, as by model.load_state_dict(weights, assign=True), or make the model without "
                "torch.device('meta').",
            )
        if torch.nn.parameter.is_lazy(tensor):
            raise QuantStageError(
                "fixture",
                f"quant_model has no weights: {name} is lazy, and gets its shape at the first call. Call "
                "the model once, and load its weights.",
            )


def _refuse_programs(model: Any) -> None:
    """Refuse what has no Python layers left: nothing in it can be observed or replaced."""
    import torch

    what, made = "", "exported"
    if isinstance(model, torch.jit.ScriptModule | torch.jit.ScriptFunction):
        what, made = "a TorchScript model", "scripted or traced"
    elif isinstance(model, torch.export.ExportedProgram):
        what = "a program of torch.export"
    elif torch_api.is_exported(model):
        what = "the graph of a program of torch.export"
    if what:
        raise QuantStageError(
            "fixture",
            f"quant_model gave {what} ({type(model).__name__}), in which there are no layers of Python's "
            f"left to quantize. Return the torch.nn.Module that was {made}; "
            "model.load_state_dict(that.state_dict()) gives a new one its weights.",
        )
    for name, child in model.named_modules() if isinstance(model, torch.nn.Module) else ():
        has_weights = any(True for _ in child.parameters())
        if isinstance(child, torch.jit.ScriptModule) and has_weights:
            raise QuantStageError(
                "fixture",
                f"quant_model holds a TorchScript model with weights, {name}, in which there are no layers "
                "of Python's left to quantize. Put the torch.nn.Module that was scripted or traced there.",
            )
