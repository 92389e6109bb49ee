"""Runtime: what another runtime offers, so that a file of its own can be judged.

Nothing here, nor in the files of the runtimes, imports PyTorch: the first call of a file runs in a process
that has the runtime and NumPy alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

Array = Any  # a numpy.ndarray


@dataclass(frozen=True, slots=True)
class Port:
    """An input or an output of a file.

    Args:
        name: in the file.
        shape: its sizes; None where any will do.
        dtype: NumPy's name of its type, such as ``float32``.
        scale: of integers that stand for real values, ``(q - zero_point) * scale``; 0 where they do not.
        zero_point: the same.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    scale: float = 0.0
    zero_point: int = 0

    def __str__(self) -> str:
        sizes = ", ".join("any" if size is None else str(size) for size in self.shape)
        return f"{self.name} [{sizes}] {self.dtype}"


@dataclass(frozen=True, slots=True)
class Kernel:
    """One operation with weights, or a product of two activations, as a session runs it on this CPU.

    Args:
        name: of its node, as the runtime tells it.
        op: the runtime's name of what it does.
        macs: multiply-adds in one call.
        weights: values of its constant weights; 0 for a product of activations.
        bits: of a weight's value where the kernel takes it; 32 for a product of activations in float.
    """

    name: str
    op: str
    macs: int
    weights: int
    bits: int

    @property
    def is_narrow(self) -> bool:
        """Whether it takes weights of fewer bits than FP32's."""
        return self.bits < 32 and self.weights > 0

    @property
    def is_wide(self) -> bool:
        """Whether it takes weights in as many bits as FP32's."""
        return self.weights > 0 and not self.is_narrow


class Session(Protocol):
    """A file that is loaded and can be called.

    Attributes:
        inputs: in the file's order.
        outputs: in the file's order.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """The outputs, in order, for arrays that fit the inputs, in order; new ones at each call."""


class Runtime(Protocol):
    """A module of this package that knows one runtime.

    Attributes:
        NAME: for a person.
        SUFFIX: of its files.
        PACKAGE: that is imported.
        EXTRA: of this package, which installs it.
        PRODUCTION: lines that load the file `path` with so many `threads` and call it on the list `inputs`,
            which gives the list `outputs`; they need the runtime and NumPy alone.
    """

    NAME: str
    SUFFIX: str
    PACKAGE: str
    EXTRA: str
    PRODUCTION: str

    def version(self) -> str:
        """Of the installed package."""

    def files(self, path: Path) -> list[Path]:
        """The file and those beside it that it needs.

        Raises:
            ValueError: when it is no such file; says why.
        """

    def load(self, path: Path, threads: int) -> Session:
        """A session that computes with so many threads, in float32 where the file says float."""

    def kernels(self, path: Path, threads: int, arrays: Sequence[Array]) -> list[Kernel] | None:
        """What a session runs on this CPU for one call, after all that the runtime does to the graph; None
        where that cannot be seen.

        Args:
            arrays: as `Session.run` takes them.
        """
