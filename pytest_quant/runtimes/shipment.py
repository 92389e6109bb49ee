"""Shipment: what production loads of a variant, and what is to be known of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from pytest_quant.runtimes.runtime import Port


class Shipment(Protocol):
    """The files of a variant that run without this package; to be used inside the variant's `isolated`.

    Attributes:
        runtime: what loads them, its name and version.
        suffix: of the main file.
        inputs, outputs: of the main file.
        channels_last: whether the main file takes its inputs so.
        digest: of what was judged, in hex digits; equal where another process would ship the same.
    """

    runtime: str
    suffix: str
    channels_last: bool

    @property
    def digest(self) -> str: ...

    @property
    def inputs(self) -> Sequence[Port]: ...

    @property
    def outputs(self) -> Sequence[Port]: ...

    def names(self, path: Path) -> list[Path]:
        """Where the files go when the main one goes to `path`, the main one first."""

    def write(self, path: Path) -> list[Path]:
        """Write them; as `names`."""

    def fault(self, path: Path) -> str | None:
        """Why the written files do not give the bits of the variant's first eval batch in a process without
        this package; None where they do."""
