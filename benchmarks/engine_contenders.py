"""Contenders: one model on one engine, ready to be timed; those of PyTorch and of the package.

Each is built in a process of its own from what `engine_models.make` left in a folder.
"""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from engine_models import INPUTS, loaded
from torch import Tensor

from pytest_quant import Recipe, Subject
from pytest_quant.machine.conditions import Conditions, engine_set
from pytest_quant.store.open import open_store
from pytest_quant.variant.tensors import bytes_of, tensors_of

MB = 10**6  # bytes
Run = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Task:
    """What a contender is made from.

    Args:
        model: its name in `engine_models`.
        contender: its name in the table.
        folder: with weights, calibration inputs and the ONNX model.
        batch: samples of one timed call.
        threads: of one call.
    """

    model: str
    contender: str
    folder: Path
    batch: int
    threads: int

    @property
    def inputs(self) -> Tensor:
        """The calibration inputs."""
        inputs: Tensor = torch.load(self.folder / INPUTS, weights_only=True)
        return inputs


@dataclass(frozen=True, slots=True)
class Contender:
    """Ready to be called.

    Args:
        bind: makes of a batch of inputs a function without arguments that returns outputs.
        mb: of its weights, 10**6 bytes.
        context: in which it is called.
        share: of the multiply-adds, in int8; None where nobody knows.
    """

    bind: Callable[[Tensor], Run]
    mb: float
    context: Callable[[], AbstractContextManager[Any]]
    share: float | None = None


def fp32(task: Task) -> Contender:
    """FP32 in PyTorch: eager, channels_last, or compiled with frozen weights."""
    module: Any = loaded(task.model, task.folder)
    mb = bytes_of(tensors_of(module.state_dict())) / MB
    if task.contender == "fp32 compiled":
        from torch._inductor import config

        config.freezing = True
        module = torch.compile(module)
        return Contender(lambda x: lambda: module(x), mb, torch.no_grad)
    if task.contender == "fp32 channels_last":
        module = module.to(memory_format=torch.channels_last)

        def bind(inputs: Tensor) -> Run:
            own = inputs.contiguous(memory_format=torch.channels_last)
            return lambda: module(own)

        return Contender(bind, mb, torch.inference_mode)
    return Contender(lambda x: lambda: module(x), mb, torch.inference_mode)


def package(task: Task) -> Contender:
    """A recipe of the package: ``fx/x86``, ``pt2e``, ``dynamic/onednn``, ``our onnx``, ..."""
    variant = variant_of(task)
    recipe, forward = variant.recipe, variant.subject.forward
    assert recipe is not None  # FP32 alone has none
    assert forward is None  # so that a call of the model is all there is to time
    if recipe.flow == "pt2e":  # has seen no other batch size than the timed one
        model = variant.model
    else:
        with engine_set(str(recipe.engine)):  # has never run: an int8 convolution keeps
            model = copy.deepcopy(variant.model)  # the kernel chosen for the first batch
    share = variant.int8_share.macs
    return Contender(lambda x: lambda: model(x), variant.size.mb, variant.running, share)


def variant_of(task: Task) -> Any:
    """The variant that a contender's name stands for, calibrated on all inputs."""
    flow, _, engine = task.contender.removeprefix("our ").partition("/")
    inputs = task.inputs
    subject = Subject(
        loaded(task.model, task.folder),
        eval_data=[(inputs[: task.batch], torch.zeros(task.batch, dtype=torch.long))],
        calibration_data=list(inputs.split(8)),
    )
    if flow == "onnx dynamic":
        recipe = Recipe("dynamic", flow="onnx")
    elif flow == "dynamic":
        recipe = Recipe("dynamic", engine=engine or None, flow="eager" if engine else "pt2e")
    else:
        recipe = Recipe("static", flow=flow, engine=engine or None)
    return open_store(Conditions(threads=task.threads)).variant(subject, recipe)
