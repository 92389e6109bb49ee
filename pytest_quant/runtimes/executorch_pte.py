"""ExecuTorch: files ``.pte``, by its Python bindings, which import PyTorch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pytest_quant.runtimes.runtime import Array, Kernel, Port

NAME, SUFFIX, PACKAGE, EXTRA = "ExecuTorch", ".pte", "executorch", "executorch"
PRODUCTION = """\
import torch
from executorch.runtime import Runtime
program = Runtime.get().load_program(path)
method = program.load_method("forward")
outputs = [each.numpy() for each in method.execute([torch.from_numpy(x) for x in inputs])]
"""
# By the numbers that a file has for them.
TYPES = {
    0: "uint8", 1: "int8", 2: "int16", 3: "int32", 4: "int64", 5: "float16", 6: "float32",
    7: "float64", 11: "bool",
}  # fmt: skip

RESETS: list[int] = []  # the numbers of threads that this process has set


def version() -> str:
    """As the protocol says."""
    from importlib.metadata import version as of

    return of("executorch")


def files(path: Path) -> list[Path]:
    """As the protocol says."""
    with path.open("rb") as file:
        if not file.read(8)[4:].startswith(b"ET"):
            raise ValueError("it is no ExecuTorch program: bytes 4 and 5 are not ET")
    return [path]


class ExecuTorchSession:
    """The method ``forward`` of a program.

    The threads are those of the whole process. A method that was loaded before their number changed
    crashes, so it is loaded again.
    """

    def __init__(self, path: Path, threads: int) -> None:
        self._path, self._threads = path, threads
        self._method = self._loaded()
        about = self._method.metadata
        self.inputs = _ports("input", about.num_inputs(), about.input_tensor_meta)
        self.outputs = _ports("output", about.num_outputs(), about.output_tensor_meta)

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """As the protocol says."""
        import torch

        if _threads_now() != self._threads or self._resets != len(RESETS):
            self._method = self._loaded()
        outputs = self._method.execute([torch.from_numpy(np.array(array)) for array in arrays])
        return [np.array(output.numpy()) for output in outputs]

    def _loaded(self) -> Any:
        from executorch.extension.pybindings import portable_lib
        from executorch.runtime import Runtime

        if _threads_now() != self._threads:
            portable_lib._unsafe_reset_threadpool(self._threads)
            RESETS.append(self._threads)
        self._resets = len(RESETS)
        self._program = Runtime.get().load_program(str(self._path))
        return self._program.load_method("forward")


def _threads_now() -> int:
    from executorch.extension.pybindings import portable_lib

    return int(portable_lib._threadpool_get_thread_count())


def load(path: Path, threads: int) -> ExecuTorchSession:
    """As the protocol says."""
    return ExecuTorchSession(path, threads)


def kernels(path: Path, threads: int, arrays: Sequence[Array]) -> list[Kernel] | None:
    """None: what a delegate runs is not to be seen in its file."""
    return None


def _ports(what: str, count: int, about: Any) -> tuple[Port, ...]:
    metas = [about(place) for place in range(count)]
    return tuple(
        Port(f"{what}{place}", tuple(meta.sizes()), TYPES.get(meta.dtype(), f"type {meta.dtype()}"))
        for place, meta in enumerate(metas)
    )
