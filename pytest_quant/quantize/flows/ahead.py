"""Ahead: a converted graph compiled once for all, into a package that PyTorch alone loads and calls."""

import copy
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pytest_quant.errors import in_brief
from pytest_quant.machine import torch_api
from pytest_quant.quantize.flows.kernel import explained, quietly
from pytest_quant.quantize.flows.rows import in_rows
from pytest_quant.subject.batches import mapped, size_of, taken


def package(
    graph: Any, values: dict[str, Any], sizes: Sequence[tuple[int | None, ...]], path: Path
) -> None:
    """Compile a graph by AOTInductor, for this CPU and PyTorch's number of threads.

    Args:
        graph: takes tensors by name.
        values: those of one call.
        sizes: of each of them; None where the graph takes any, as the package then does.
        path: of the package, ``.pt2``.

    Raises:
        QuantStageError: when the graph cannot be compiled.
    """
    inductor = torch_api.module(torch_api.INDUCTOR)
    if all(own[:1] == (None,) for own in sizes if own):  # one sample would be fixed in the export
        values = taken(values, max(2, size_of(list(values.values()))))
    left = iter(sizes)

    def free(_: torch.Tensor) -> Any:
        places = [place for place, size in enumerate(next(left)) if size is None]
        return dict.fromkeys(places, torch.export.Dim.AUTO) or None

    try:
        with warnings.catch_warnings(), quietly(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.export.export(
                in_rows(copy.deepcopy(graph)),
                (),
                values,
                dynamic_shapes=mapped(values, free),
                strict=False,
            )
            with inductor.config.patch(freezing=True):
                inductor.aoti_compile_and_package(program, package_path=str(path))
    except Exception as error:
        raise explained(
            error, f"AOTInductor could not compile the quantized model: {in_brief(error)}"
        ) from error
