"""Kernel: a graph compiled by inductor for inputs of one shape."""

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.machine import torch_api
from pytest_quant.machine.quiet_loggers import loggers_at
from pytest_quant.quantize.flows.rows import in_rows


class Kernel:
    """A compiled graph, which takes its inputs laid out as they were when it was compiled.

    Inductor lets a Linear or convolution add its output to what it is added to, in place, even where that
    is an input. Such a kernel is given copies of those inputs that it was seen to change.

    Args:
        run: takes the tensors one by one.
        inputs: that it was compiled for.
        form: of its outputs, a pytree's spec; inductor may give them as a flat list.
        takes: whether it takes other tensors; None when it takes those of just these shapes.
    """

    def __init__(
        self,
        run: Callable[..., Any],
        inputs: list[Any],
        form: Any,
        takes: Callable[[list[Any]], bool] | None = None,
    ) -> None:
        self.run = run
        self.strides = [tensor.stride() for tensor in inputs]
        self.form = form
        self.types = [tensor.dtype for tensor in inputs]
        self._takes = takes
        self._written = [False] * len(inputs)
        given = [tensor.clone() for tensor in inputs]
        self(given)  # what is wrong with a kernel shows when it runs
        same = map(torch.equal, given, inputs)
        self._written = [not is_same for is_same in same]

    def takes(self, inputs: list[Any]) -> bool:
        """Whether it was compiled for sizes that these tensors have too."""
        if self._takes is None or [tensor.dtype for tensor in inputs] != self.types:
            return False
        return self._takes([tensor.contiguous() for tensor in inputs])

    def __call__(self, inputs: list[Any]) -> Any:
        pytree = torch_api.module(torch_api.PYTREE)
        if self._takes is None:
            inputs = list(map(_laid_out, inputs, self.strides))
        else:
            inputs = [tensor.contiguous() for tensor in inputs]
        pairs = zip(inputs, self._written, strict=True)
        inputs = [tensor.clone() if written else tensor for tensor, written in pairs]
        leaves = pytree.tree_leaves(self.run(*inputs))
        return leaves[0] if self.form.is_leaf() else pytree.tree_unflatten(leaves, self.form)


def _laid_out(tensor: Any, stride: tuple[int, ...]) -> Any:
    if tensor.stride() == stride:
        return tensor
    return torch.empty_strided(tensor.shape, stride, dtype=tensor.dtype).copy_(tensor)


def compiled(
    graph: Any, inputs: list[Any], form: Any, free: list[tuple[bool, ...]] | None = None
) -> tuple[Kernel, int | None]:
    """The graph compiled by inductor for inputs like these, and its int8 kernels with weights.

    Weights are frozen, without which inductor finds no int8 kernel. Its own harmless warnings would
    become errors under ``-W error``.

    Args:
        free: of each tensor, which of its sizes may be others; None to compile for just these shapes.

    Raises:
        QuantStageError: when the graph cannot be compiled, with what is missing.
    """
    is_fixed = free is None
    inputs = [t if is_fixed and _is_dense(t) else t.contiguous() for t in inputs]
    before = torch_api.kernels_found()
    with compiler("inductor") as inductor:
        # a copy, since inductor leaves marks on a graph and could not compile it once more
        own = copy.deepcopy(graph)
        stand_ins, takes = (inputs, None) if free is None else torch_api.free_sizes(inputs, free)
        made = inductor.compile(own if free is None else in_rows(own), stand_ins)
        kernel = Kernel(made, inputs, form, takes)
        found = torch_api.kernels_found()
        return kernel, None if found is None else found - (before or 0)


@contextmanager
def compiler(name: str) -> Iterator[Any]:
    """Inductor, in which weights are frozen and nothing is printed.

    Args:
        name: of what compiles, for errors.

    Raises:
        QuantStageError: for what it raises, with what is missing.
    """
    inductor = torch_api.module(torch_api.INDUCTOR)
    try:
        with warnings.catch_warnings(), quietly(), torch.no_grad():
            warnings.simplefilter("ignore")
            with inductor.config.patch(freezing=True):
                yield inductor
    except Exception as error:
        said = f"{name} could not compile the quantized model: {in_brief(error)}"
        if "InvalidCxxCompiler" in repr(error):
            said = (
                "flow pt2e compiles the model and found no C++ compiler; install g++ "
                "(Debian: apt-get install g++), or set CXX."
            )
        raise QuantStageError("compile", said) from error


def _is_dense(tensor: Any) -> bool:
    if tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        return True
    return bool(tensor.is_contiguous())


@contextmanager
def quietly() -> Iterator[None]:
    """Without PyTorch's notices about CUDA and itself, and the graphs that it prints when it fails."""
    with (
        loggers_at(logging.CRITICAL, torch_api.NOISY_LOGGERS),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        yield
