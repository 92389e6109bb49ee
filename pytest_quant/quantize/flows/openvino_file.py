"""OpenVINO: the FP32 model as an OpenVINO IR, which NNCF quantizes on our calibration samples."""

import io
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pytest_quant.errors import NothingToQuantizeError
from pytest_quant.machine import torch_api
from pytest_quant.machine.engines import must_reduce_range
from pytest_quant.machine.quiet_loggers import loggers_at
from pytest_quant.quantize.flows import fx
from pytest_quant.quantize.flows.example import Example
from pytest_quant.quantize.flows.onnx_file import exported
from pytest_quant.quantize.layer_observers import LayerObservers
from pytest_quant.quantize.layer_types import ATTENTION, CONVOLUTIONS, LINEAR, SCALES
from pytest_quant.quantize.names import kept
from pytest_quant.runtimes.artefact import Artefact
from pytest_quant.runtimes.fit import Given
from pytest_quant.runtimes.onnx_export import Scopes, module_of
from pytest_quant.variant.facts import Facts, Ranges
from pytest_quant.variant.recipe import Recipe

NAME = "openvino"
ENGINE = "onednn"  # whose kernels OpenVINO's are, with the same need of VNNI
NEEDED = ("onnx", "onnxscript", "onnxruntime", "openvino", "nncf")
# What NNCF decides itself.
UNASKED = ("observer", "qscheme", "equalize")
# It quantizes these too, and what they pass on from step to step is then rounded each time.
RECURRENT = ("LSTMSequence", "GRUSequence", "RNNSequence", "LSTMCell", "GRUCell", "RNNCell",
             "TensorIterator", "Loop")  # fmt: skip


def refusal(module: Any, recipe: Recipe) -> str | None:
    """What is not installed, or what the recipe asks for and NNCF decides itself."""
    if names := [name for name in NEEDED if find_spec(name) is None]:
        return f"{', '.join(names)} is not installed: pip install 'pytest-quant[nncf]'"
    usual = Recipe(recipe.kind)
    if own := [name for name in UNASKED if getattr(recipe, name) != getattr(usual, name)]:
        return f"NNCF decides {', '.join(own)} itself; leave it out of the recipe"
    if not recipe.per_channel:
        return "NNCF takes per_channel=True only"
    return None


def facts(recipe: Recipe) -> Facts:
    """Of what NNCF makes."""
    return Facts(
        f"{recipe.kind} in flow {NAME}",
        Ranges.BEFOREHAND,
        covers=LINEAR | CONVOLUTIONS | ATTENTION,
        scale_bytes=SCALES,
        folds_batchnorm=True,
        engine=ENGINE,
        is_settled=True,
        halves_weights=True,
    )


def observers(recipe: Recipe, engine: str) -> LayerObservers:
    """Those of FX that are nearest to NNCF's: minimum and maximum."""
    return fx.observers(replace(recipe, observer="minmax"), engine)


def convert(
    module: Any, recipe: Recipe, example: Example, samples: Sequence[Sequence[Given]]
) -> Artefact:
    """The IR that OpenVINO runs, in a folder that lives as long as what is returned.

    Args:
        module: our own copy of the FP32 model, in eval mode.
        example: a call of it.
        samples: the tensors of each call that calibrates.

    Raises:
        QuantStageError: when it cannot be exported or quantized, or has nothing to quantize.
    """
    fp32_names = kept(module, recipe.keep_fp32)

    def finish(path: Path, scopes: Scopes) -> Path:
        return _quantized(path, scopes, fp32_names, samples)

    return exported(NAME, lambda: module, example, finish)


def _quantized(
    path: Path,
    scopes: Scopes,
    kept_names: frozenset[str],
    samples: Sequence[Sequence[Given]],
) -> Path:
    import openvino

    model = openvino.Core().read_model(str(path))
    inputs = [each.any_name for each in model.inputs]
    with _quiet_nncf() as nncf:
        made = nncf.quantize(
            model,
            nncf.Dataset([_by_input(inputs, call) for call in samples]),
            subset_size=len(samples),
            ignored_scope=nncf.IgnoredScope(
                names=[op for op in _names(model) if module_of(op, scopes) in kept_names],
                types=list(RECURRENT),
                validate=False,
            ),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=nncf.OverflowFix.ENABLE
                if must_reduce_range(ENGINE)
                else nncf.OverflowFix.DISABLE
            ),
        )
    if not any(op.get_type_name() == "FakeQuantize" for op in made.get_ops()):
        raise NothingToQuantizeError(
            "convert",
            "nothing to quantize: NNCF takes Linear and convolutions, and quant_model has none of them"
            f"{' outside keep_fp32' if kept_names else ''}.",
        )
    target = path.with_suffix(".xml")
    openvino.save_model(made, str(target), compress_to_fp16=False)
    path.unlink()
    return target


@contextmanager
def _quiet_nncf() -> Iterator[Any]:
    """NNCF, which tells nobody outside what it is used for, and draws no bars."""
    with loggers_at(logging.ERROR, torch_api.NOISY_LOGGERS):  # of PyTorch, which it imports more of
        nncf = _untold()
    with (
        loggers_at(logging.ERROR, ["nncf"]),
        redirect_stdout(io.StringIO()),
        redirect_stderr(io.StringIO()),
    ):
        yield nncf


def _untold() -> Any:
    before = os.environ.get("NNCF_CI")
    os.environ["NNCF_CI"] = "1"  # read when it is imported: it sends nothing
    try:
        import nncf
    finally:
        if before is None:
            del os.environ["NNCF_CI"]
        else:
            os.environ["NNCF_CI"] = before
    return nncf


def _by_input(inputs: Sequence[str], call: Sequence[Given]) -> dict[str, Any]:
    """The tensors of a call by the IR's inputs: by name, else in their order."""
    by_name = {each.name: each.array for each in call}
    if all(name in by_name for name in inputs):
        return {name: by_name[name] for name in inputs}
    return {name: each.array for name, each in zip(inputs, call, strict=True)}


def _names(model: Any) -> Iterator[str]:
    return (str(op.get_friendly_name()) for op in model.get_ops())
