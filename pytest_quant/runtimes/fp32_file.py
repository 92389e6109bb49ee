"""FP32 file: the FP32 model in the runtime of a variant, so that the runtime's own merit is known."""

import copy
from contextlib import suppress
from pathlib import Path

import torch

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.runtimes.artefact import Artefact
from pytest_quant.runtimes.kept_files import files_as_entry, files_of_entry
from pytest_quant.runtimes.only_call import only_call
from pytest_quant.runtimes.onnx_export import Scopes, folded, onnx_file
from pytest_quant.variant.measurements import NO_DRAWER
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
    return variant.fp32.once(f"file {suffix}", lambda: _kept(variant.fp32, suffix))


def _kept(fp32: Variant, suffix: str) -> Artefact:
    """An earlier run's, else one that is made."""
    with fp32.isolated():
        fp32.refuse_moved_fp32()
        drawer = fp32.drawer(f"fp32{suffix}")
    if (content := drawer.read()) is not None:
        with suppress(Exception):  # what cannot be used is made anew
            return files_of_entry(content, fp32.admitted)
    made = _made(fp32, suffix)
    if drawer is not NO_DRAWER:
        with suppress(QuantStageError):  # what cannot be kept is there all the same
            drawer.write(files_as_entry(made))
    return made


def _made(fp32: Variant, suffix: str) -> Artefact:
    finish = _as_openvino if suffix == ".xml" else folded
    with fp32.isolated():
        fp32.refuse_moved_fp32()
        module = copy.deepcopy(fp32.model).eval()
        with torch.no_grad():
            seen = only_call(module, fp32.admitted.first_inputs, fp32.subject.forward, "time")
        try:
            threads = fp32.conditions.threads
            return onnx_file(module, seen.args, seen.kwargs, threads, "fp32", finish)
        except QuantStageError:
            raise
        except Exception as error:
            raise QuantStageError(
                "time",
                f"baseline='runtime': FP32 could not be exported ({in_brief(error)}); judge a float "
                "file as a variant of its own, by Recipe('artefact', path=..., quantized=False).",
            ) from error


def _as_openvino(source: Path, _: Scopes) -> Path:
    import openvino

    path = source.with_suffix(".xml")
    # read_model, since convert_model tells its makers that it was used
    openvino.save_model(openvino.Core().read_model(str(source)), str(path), compress_to_fp16=False)
    return path
