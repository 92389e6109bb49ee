"""Ahead: a converted graph compiled once for all, into a package that PyTorch alone loads and calls."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pytest_quant.quantize.flows.kernel import compiler
from pytest_quant.quantize.flows.rows import in_rows
from pytest_quant.subject.batches import mapped


def package(
    graph: Any, values: dict[str, Any], sizes: Sequence[tuple[int | None, ...]], path: Path
) -> None:
    """Compile a graph by AOTInductor, for this CPU and PyTorch's number of threads.

    Args:
        graph: takes tensors by name.
        values: those of one call, of two samples at least where it takes any number: one would be fixed.
        sizes: of each of them; None where the graph takes any, as the package then does.
        path: of the package, ``.pt2``.

    Raises:
        QuantStageError: when the graph cannot be compiled.
    """
    left = iter(sizes)

    def free(_: torch.Tensor) -> Any:
        places = [place for place, size in enumerate(next(left)) if size is None]
        return dict.fromkeys(places, torch.export.Dim.AUTO) or None

    shapes = mapped(values, free)
    with compiler("AOTInductor") as inductor:
        own = in_rows(copy.deepcopy(graph))
        program = torch.export.export(own, (), values, dynamic_shapes=shapes, strict=False)
        inductor.aoti_compile_and_package(program, package_path=str(path))
