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

import torch

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
from pytest_quant.variant.sqnr import sqnr

NAME = "openvino"
ENGINE = "onednn"  # whose kernels OpenVINO's are, with the same need of VNNI
NEEDED = ("onnx", "onnxscript", "onnxruntime", "openvino", "nncf")
# What NNCF decides itself.
UNASKED = ("observer", "qscheme", "equalize")
# It quantizes these too, and what they pass on from step to step is then rounded each time.
RECURRENT = ("LSTMSequence", "GRUSequence", "RNNSequence", "LSTMCell", "GRUCell", "RNNCell",
             "TensorIterator", "Loop")  # fmt: skip
COMPARED = 16  # calls of the calibration data, by which settings are compared
GAIN = 1.0  # dB that is worth what stays in float
# What may lie between attention's softmax and the product that it weighs.
PASSING = ("Reshape", "Transpose", "Convert", "Concat", "Squeeze", "Unsqueeze", "Select",
           "Multiply")  # fmt: skip


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
    calls = [_by_input(inputs, call) for call in samples]

    def made_for(model_type: Any) -> Any:
        return nncf.quantize(
            model,
            nncf.Dataset(calls),
            subset_size=len(samples),
            model_type=model_type,
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

    with _quiet_nncf() as nncf:
        made = made_for(None)
        if _attends(model):
            other = made_for(nncf.ModelType.TRANSFORMER)
            plain, evened = nearness_of(model, [made, other], calls[:COMPARED])
            made = other if evened > plain + GAIN else made
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


def nearness_of(model: Any, others: Sequence[Any], calls: Sequence[Any]) -> list[float]:
    """How near the outputs of other IRs are to a model's, in dB of all calls together."""
    wanted = _outputs(model, calls)
    return [sqnr(wanted, _outputs(other, calls)) for other in others]


def _outputs(model: Any, calls: Sequence[Any]) -> list[Any]:
    """All outputs for these calls, one after the other."""
    import openvino

    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [torch.from_numpy(value.copy()) for call in calls for value in compiled(call).values()]


def _attends(model: Any) -> bool:
    """Whether softmaxes weigh the rows of a product, as attention's do.

    NNCF has settings for such models: they leave more of what lies between the products in float, and even
    out the activations before layers. ViT-B/16 of random weights gains 23 dB by them, and small encoders
    may lose 10, so that both are built and compared.
    """
    return any(
        kind == "ScaledDotProductAttention" or (kind == "Softmax" and _comes_to_product(op))
        for op in model.get_ops()
        for kind in [op.get_type_name()]
    )


def _comes_to_product(op: Any) -> bool:
    """Whether a product takes the outputs of an operation, as they are or passed on."""
    inputs = [each for output in op.outputs() for each in output.get_target_inputs()]
    return any(
        reader.get_type_name() == "MatMul"
        or (reader.get_type_name() in PASSING and _comes_to_product(reader))
        for reader in (each.get_node() for each in inputs)
    )


def _names(model: Any) -> Iterator[str]:
    return (str(op.get_friendly_name()) for op in model.get_ops())
