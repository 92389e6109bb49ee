"""Kernel: a graph compiled by inductor for inputs of one shape."""

import contextlib
import copy
import importlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from pytest_quant.errors import QuantStageError, in_brief

pytree: Any = importlib.import_module("torch.utils._pytree")
# The last one writes thousands of empty lines into what pytest shows of a failing test.
NOISY_LOGGERS = ("torch.utils._pytree", "torch.utils.cpp_extension", "torch.__trace")


class Kernel:
    """A compiled graph, which takes its inputs laid out as they were when it was compiled.

    Args:
        run: takes the tensors one by one.
        inputs: that it was compiled for.
        form: of its outputs, a pytree's spec; inductor may give them as a flat list.
    """

    def __init__(self, run: Callable[..., Any], inputs: list[Any], form: Any) -> None:
        self.run = run
        self.strides = [tensor.stride() for tensor in inputs]
        self.form = form

    def __call__(self, inputs: list[Any]) -> Any:
        leaves = pytree.tree_leaves(self.run(*map(_laid_out, inputs, self.strides)))
        return leaves[0] if self.form.is_leaf() else pytree.tree_unflatten(leaves, self.form)


def _laid_out(tensor: Any, stride: tuple[int, ...]) -> Any:
    if tensor.stride() == stride:
        return tensor
    return torch.empty_strided(tensor.shape, stride, dtype=tensor.dtype).copy_(tensor)


def compiled(graph: Any, inputs: list[Any], form: Any) -> tuple[Kernel, int]:
    """The graph compiled by inductor for inputs of just these shapes, and its int8 kernels with weights.

    Weights are frozen, without which inductor finds no int8 kernel. Its own harmless warnings would
    become errors under ``-W error``.

    Raises:
        QuantStageError: when the graph cannot be compiled, with what is missing.
    """
    inductor = importlib.import_module("torch._inductor")
    inputs = [tensor if _is_dense(tensor) else tensor.contiguous() for tensor in inputs]
    before = _kernels_found()
    try:
        with warnings.catch_warnings(), quietly(), torch.no_grad():
            warnings.simplefilter("ignore")
            with inductor.config.patch(freezing=True):
                # a copy, since inductor leaves marks on a graph and could not compile it once more
                made = inductor.compile(copy.deepcopy(graph), inputs)
                kernel = Kernel(made, inputs, form)
                kernel(inputs)  # what is wrong with a kernel shows when it runs
                return kernel, _kernels_found() - before
    except Exception as error:
        if "InvalidCxxCompiler" in repr(error):
            raise QuantStageError(
                "compile",
                "flow pt2e compiles the model and found no C++ compiler; install g++ "
                "(Debian: apt-get install g++), or set CXX.",
            ) from error
        raise QuantStageError(
            "compile", f"inductor could not compile the quantized model: {in_brief(error)}"
        ) from error


def _kernels_found() -> int:
    """How many int8 convolutions and Linear layers inductor has made in this process."""
    counters = importlib.import_module("torch._dynamo.utils").counters["inductor"]
    return sum(counters[f"q{kind}_weight_prepack_matcher_count"] for kind in ("conv", "linear"))


def _is_dense(tensor: Any) -> bool:
    if tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        return True
    return bool(tensor.is_contiguous())


@contextmanager
def quietly() -> Iterator[None]:
    """Without PyTorch's notices about CUDA and itself, and the graphs that it prints when it fails."""
    loggers = [logging.getLogger(name) for name in NOISY_LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
