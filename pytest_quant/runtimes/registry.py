"""Registry: which runtime runs which file, and what of it is there."""

import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.runtimes import executorch_pte, lite_rt, onnx_runtime, open_vino
from pytest_quant.runtimes.runtime import Runtime

POINTER = b"version https://git-lfs.github.com/spec/"
RUNTIMES: tuple[Runtime, ...] = (onnx_runtime, open_vino, executorch_pte, lite_rt)


def runtime_of(path: Path) -> Runtime:
    """By a file's name.

    Raises:
        QuantStageError: for another kind of file, or when the runtime is not installed.
    """
    for runtime in RUNTIMES:
        if path.suffix == runtime.SUFFIX:
            if find_spec(runtime.PACKAGE) is None:
                raise QuantStageError(
                    "load",
                    f"{path.name} needs {runtime.NAME}, which is not installed: "
                    f"pip install 'pytest-quant[{runtime.EXTRA}]'",
                )
            return runtime
    known = ", ".join(f"{each.SUFFIX} ({each.NAME})" for each in RUNTIMES)
    raise QuantStageError(
        "load", f"{path.name} is of no runtime that is known here; expected {known}"
    )


def files_of(path: Path) -> list[Path]:
    """A file of another runtime with those beside it that it needs, all of which are there.

    Raises:
        QuantStageError: names the one that is missing, or says why it is no such file.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not there"
        raise QuantStageError(
            "load",
            f"{path} {what}; a path is taken from rootdir. Build the file before the tests run.",
        )
    runtime = runtime_of(path)
    _refuse_pointer(path)
    try:
        found = runtime.files(path)
    except (ValueError, OSError) as error:
        raise QuantStageError("load", f"{path} cannot be read: {error}") from error
    except ImportError as error:
        raise QuantStageError(
            "load",
            f"{path.name} needs what is not installed ({in_brief(error)}): "
            f"pip install 'pytest-quant[{runtime.EXTRA}]'",
        ) from error
    if lost := [each for each in found if not each.is_file()]:
        raise QuantStageError(
            "load",
            f"{path} needs {lost[0].name}, with its weights, which is not beside it; ship and keep the "
            "files together.",
        )
    for each in found[1:]:
        _refuse_pointer(each)
    return found


def _refuse_pointer(path: Path) -> None:
    """Raise for what stands in the place of a file that Git LFS has not fetched."""
    try:
        with path.open("rb") as file:
            is_pointer = file.read(len(POINTER)) == POINTER
    except OSError:  # which reading it will tell
        return
    if is_pointer:
        raise QuantStageError(
            "load", f"{path} is a pointer of Git LFS and not yet the file: git lfs pull fetches it."
        )


def digest_of(files: Sequence[Path]) -> bytes:
    """Of the contents of files, in order.

    Returns:
        16 bytes, BLAKE2b.
    """
    digest = hashlib.blake2b(digest_size=16)
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.digest()


def named(runtime: Any) -> str:
    """A runtime with its version, for a person: ``ONNX Runtime 1.32.0``."""
    return f"{runtime.NAME} {runtime.version()}"
