"""ONNX: what FX has observed, as a file that ONNX Runtime runs; that file is what is judged."""

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.machine import torch_api
from pytest_quant.quantize.flows import fx
from pytest_quant.quantize.flows.example import Example
from pytest_quant.quantize.flows.flow import FlowRefusal
from pytest_quant.quantize.layer_observers import LayerObservers
from pytest_quant.runtimes.artefact import Artefact
from pytest_quant.runtimes.onnx_barrier import keep_float
from pytest_quant.runtimes.onnx_clips import clip_in_int8
from pytest_quant.runtimes.onnx_export import Finish, Scopes, folded, onnx_file
from pytest_quant.variant.facts import Facts
from pytest_quant.variant.recipe import Recipe

NAME = "onnx"
# Whose activations have 8 bits where there is VNNI and 7 elsewhere, as ONNX Runtime's kernels need it.
ENGINE = "onednn"
OBSERVES_ALL = True
NEEDED = ("onnx", "onnxscript", "onnxruntime")


def refusal(module: Any, recipe: Recipe) -> str | None:
    """As FX, and without the exporter or the runtime."""
    return missing() or fx.refusal(module, recipe)


def missing() -> str | None:
    """What the flow needs and what is not installed, in half a sentence; None where all is there."""
    names = [name for name in NEEDED if find_spec(name) is None]
    if not names:
        return None
    return f"{', '.join(names)} is not installed: pip install 'pytest-quant[onnx]'"


def prepare(module: Any, recipe: Recipe, engine: str, example: Example) -> Any:
    """As FX prepares it."""
    return fx.prepare(module, recipe, engine, example)


def convert(prepared: Any, example: Example) -> Artefact:
    """The file that ONNX Runtime runs, in a folder that lives as long as what is returned."""
    prepared.eval()
    fx.set_dropout(prepared, False)
    return exported(NAME, lambda: torch_api.reference_decomposed(prepared), example, _finished)


def _finished(path: Path, scopes: Scopes) -> Path:
    keep_float(path)
    folded(path, scopes)
    clip_in_int8(path)
    return path


def exported(flow: str, make: Callable[[], Any], example: Example, finish: Finish) -> Artefact:
    """A module as the file that a flow makes of it, in a folder that lives as long as what is returned.

    Args:
        make: gives the module, in eval mode.
        example: a call of it.
        finish: as in `onnx_file`.

    Raises:
        QuantStageError: when it cannot be exported; what the exporter or the runtime raises is the cause.
    """
    try:
        threads = torch.get_num_threads()
        return onnx_file(make(), example.args, example.kwargs, threads, "int8", finish)
    except QuantStageError:
        raise
    except Exception as error:
        raise FlowRefusal(
            "convert",
            flow,
            f"could not export quant_model: {in_brief(_first(error))}",
            "Keep the layer FP32 with keep_fp32, or gate a file of your own by Recipe('artefact').",
        ) from error


def rehearsal(prepared: Any) -> Any:
    """As FX's."""
    return fx.rehearsal(prepared)


def facts(recipe: Recipe) -> Facts:
    """As FX's, by its own name."""
    return replace(fx.facts(recipe), name=f"{recipe.kind} in flow {NAME}", engine=ENGINE)


def observers(recipe: Recipe, engine: str) -> LayerObservers:
    """As FX's."""
    return fx.observers(recipe, engine)


def _first(error: BaseException) -> BaseException:
    """What an error came from: the exporter's own are long, and say that there was one."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
