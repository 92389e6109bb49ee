"""Export: what production loads with the runtime alone, and a page of what it is beside it."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.machine.atomic_write import write_atomically
from pytest_quant.runtimes.artefact import Artefact, named_tensors
from pytest_quant.runtimes.only_call import only_call
from pytest_quant.runtimes.registry import runtime_of
from pytest_quant.runtimes.runtime import Port
from pytest_quant.subject.weights_digest import weights_digest
from pytest_quant.variant.variant import Variant

FORM, VERSION = "pytest-quant export", 1
SECONDS = 300.0  # for production's first call
# In a process without this package: the runtime's own lines, then the outputs.
CHECK = """
import sys
import numpy as np
path, threads, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
held = np.load(folder + "/in.npz")
inputs = [held[f"arr_{i}"] for i in range(len(held.files))]
LOADS
np.savez(folder + "/out.npz", *outputs)
assert "pytest_quant" not in sys.modules
"""


def export(variant: Variant, path: str | Path) -> Path:
    """Write a variant's file, those beside it and a page of JSON; see `Variant.export`."""
    path, model = Path(path), variant.model
    if not isinstance(model, Artefact):
        what = "FP32" if variant.is_fp32 else f"{variant.name} (flow {variant.recipe.flow})"  # type: ignore[union-attr]
        raise QuantStageError(
            "export",
            f"{what} is a PyTorch module, and no file that another runtime runs; "
            "Recipe('static', flow='onnx') builds one, and Variant.save writes one for load_variant.",
        )
    if path.suffix != model.path.suffix:
        raise QuantStageError(
            "export",
            f"{path.name} was asked for, and {variant.name} is a file of {model.runtime}; give it the "
            f"suffix {model.path.suffix}.",
        )
    with variant.isolated():
        variant.refuse_moved_fp32()
        values, expected = _call(variant, model)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=path.parent) as folder:
        copied = _copied(model, Path(folder, path.name))
        _refuse_other_bits(variant, copied[0], values, expected)
        for each in copied:
            os.replace(each, path.parent / each.name)
    write_page(variant, path)
    return path


def page_path(path: Path) -> Path:
    """Where the page of a file lies."""
    return path.with_name(f"{path.name}.json")


def write_page(variant: Variant, path: Path) -> None:
    """Write the page of a variant's file, with what has been judged by now.

    Args:
        path: of the file, which is there.
    """
    written = [path, *(path.parent / each.name for each in _beside(variant.model, path))]
    page = json.dumps(_page(variant, variant.model, written), indent=2)
    write_atomically(page_path(path), f"{page}\n")


def _copied(model: Artefact, path: Path) -> list[Path]:
    """The files, the first as `path`; those beside it under the names by which it asks for them."""
    copied = [path, *_beside(model, path)]
    for source, target in zip(model.files, copied, strict=True):
        shutil.copyfile(source, target)
    return copied


def _beside(model: Artefact, path: Path) -> list[Path]:
    """The files beside a file of this path, in the model's order."""
    others = [source for source in model.files if source != model.path]
    if model.path.suffix == ".xml":  # which asks for its own name
        return [path.with_suffix(source.suffix) for source in others]
    return [path.with_name(source.name) for source in others]


def _call(variant: Variant, model: Artefact) -> tuple[list[Any], list[Any]]:
    """What one call of the file is given, of the first batch, and what it gives here."""
    with variant.running():
        seen = only_call(model, variant.admitted.first_inputs, variant.subject.forward, "export")
    given = named_tensors(seen.args, seen.kwargs, model.arguments)
    values, _ = model.fit.first_part([each.array for each in given])
    return values, model.session(variant.conditions.threads).run(values)


def _refuse_other_bits(
    variant: Variant, path: Path, values: list[Any], expected: list[Any]
) -> None:
    runtime = runtime_of(path)
    with tempfile.TemporaryDirectory(prefix="pytest-quant-") as folder:
        np.savez(Path(folder, "in.npz"), *values)
        script = CHECK.replace("LOADS", runtime.PRODUCTION)
        arguments = [str(path.resolve()), str(variant.conditions.threads), folder]
        command = [sys.executable, "-P", "-c", script, *arguments]
        try:
            done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
            lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no word"]
            why = None if done.returncode == 0 else f"it ended with {done.returncode}: {lines[-1]}"
        except subprocess.TimeoutExpired as error:
            why = in_brief(error)
        if why is None:
            with np.load(Path(folder, "out.npz")) as held:
                outputs = [held[f"arr_{place}"] for place in range(len(held.files))]
            same = len(outputs) == len(expected) and all(
                one.tobytes() == other.tobytes()
                for one, other in zip(outputs, expected, strict=True)
            )
            why = None if same else "it gives other bits there than here"
    if why is not None:
        raise QuantStageError(
            "export",
            f"{path.name} was loaded by {variant.model.runtime} alone, in a process of its own, and is not "
            f"what was judged: {why}. Nothing is kept.",
        )


def _page(variant: Variant, model: Artefact, written: list[Path]) -> dict[str, Any]:
    evaluation = variant.measured("evaluation")
    return {
        "form": FORM,
        "version": VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "pytest_quant": version("pytest-quant"),
        "runtime": model.runtime,
        "files": {each.name: _sha256(each) for each in written},
        "model": variant.subject.label,
        "variant": variant.name,
        "recipe": None if variant.recipe is None else variant.recipe.to_dict(),
        "fp32_digest": weights_digest(variant.fp32.model),
        "inputs": [_port(port) for port in model.fit.inputs],
        "outputs": [_port(port) for port in model.fit.outputs],
        "channels_last": model.fit.last,
        "eval_data": None if evaluation is None else evaluation.passed.hex(),
        "eval_samples": None if evaluation is None else len(evaluation),
        "metrics": {} if evaluation is None else dict(evaluation.values),
        "verdicts": variant.verdicts,
    }


def _port(port: Port) -> dict[str, Any]:
    scaled = {"scale": port.scale, "zero_point": port.zero_point} if port.scale else {}
    return {"name": port.name, "shape": list(port.shape), "dtype": port.dtype, **scaled}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
