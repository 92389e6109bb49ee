"""FP32 file: the FP32 model in the runtime of a variant, so that the runtime's own merit is known."""

import copy
from pathlib import Path
from typing import Any

import torch

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.runtimes.artefact import Artefact, arguments_of, called_so, named_tensors
from pytest_quant.runtimes.onnx_export import export_onnx
from pytest_quant.runtimes.own_folder import OwnFolder
from pytest_quant.subject.batches import call, size_of
from pytest_quant.subject.samples import taken
from pytest_quant.variant.variant import Variant


def fp32_file(variant: Variant) -> Artefact:
    """FP32 as a file of the runtime that runs a variant; made once and kept with FP32.

    Raises:
        QuantStageError: for a variant that no other runtime runs, for a runtime whose files are not made
            here, and where the model cannot be exported.
    """
    model = variant.model
    if not isinstance(model, Artefact):
        raise QuantStageError(
            "time",
            f"baseline='runtime' compares a file with FP32 in the file's own runtime, and {variant.name} "
            "runs in PyTorch; take 'given' or 'best'.",
        )
    suffix, runtime = model.path.suffix, model.runtime
    if suffix not in (".onnx", ".xml"):
        raise QuantStageError(
            "time",
            f"baseline='runtime': FP32 is not exported for {runtime} here; judge a float file of it as a "
            "variant of its own, by Recipe('artefact', path=..., quantized=False).",
        )
    return variant.fp32.once(f"file {suffix}", lambda: _made(variant.fp32, suffix))


def _made(fp32: Variant, suffix: str) -> Artefact:
    with fp32.isolated():
        fp32.refuse_moved_fp32()
        args, kwargs = _call(fp32)
        module, folder = copy.deepcopy(fp32.model).eval(), OwnFolder()
        with torch.no_grad():
            outputs = module(*args, **kwargs)
            path = folder.path / "fp32.onnx"
            try:
                export_onnx(module, args, kwargs, outputs, path)
                path = path if suffix == ".onnx" else _as_openvino(path)
            except Exception as error:
                raise QuantStageError(
                    "time",
                    f"baseline='runtime': FP32 could not be exported ({in_brief(error)}); judge a float "
                    "file as a variant of its own, by Recipe('artefact', path=..., quantized=False).",
                ) from error
        names = arguments_of(module)
        given = named_tensors(args, kwargs, names)
        made = called_so(path, names, given, outputs, fp32.conditions.threads)
    made.folder = folder
    return made


def _call(fp32: Variant) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """How the model is called on the first batch, of two samples at least."""
    seen: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    module = copy.deepcopy(fp32.model)
    module.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append((args, kwargs)), with_kwargs=True
    )
    inputs = fp32.admitted.first_inputs
    inputs = taken(inputs, 2) if size_of(inputs) == 1 else inputs
    with torch.no_grad():
        call(module, inputs, fp32.subject.forward)
    if len(seen) != 1:
        raise QuantStageError("time", "quant_forward does not call the model just once for a batch")
    return seen[0]


def _as_openvino(source: Path) -> Path:
    import openvino

    path = source.with_suffix(".xml")
    openvino.save_model(openvino.convert_model(str(source)), str(path), compress_to_fp16=False)
    return path
