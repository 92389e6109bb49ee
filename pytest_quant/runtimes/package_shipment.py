"""Package shipment: a compiled PyTorch module as a package of AOTInductor, which PyTorch alone loads."""

import hashlib
import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from pytest_quant.runtimes import without_us
from pytest_quant.runtimes.artefact import named_tensors
from pytest_quant.runtimes.only_call import only_call
from pytest_quant.runtimes.runtime import Port
from pytest_quant.subject.batches import tensors_in
from pytest_quant.subject.weights_digest import tensor_bytes, weights_digest
from pytest_quant.variant.sqnr import sqnr
from pytest_quant.variant.variant import Variant

PRODUCTION = """\
import torch
torch.set_num_threads(threads)
model = torch._inductor.aoti_load_package(path)
with torch.inference_mode():
    outputs = model(**inputs)
"""
CHECK = f"""
import sys
import torch
path, threads, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
inputs = torch.load(folder + "/in.pt", weights_only=True)
{PRODUCTION}
leaves = torch.utils._pytree.tree_leaves(outputs)
torch.save([each.clone() for each in leaves if isinstance(each, torch.Tensor)], folder + "/out.pt")
"""


@runtime_checkable
class Packable(Protocol):
    """A module that is compiled, and that can be compiled ahead of its first call.

    Attributes:
        sizes: of each tensor that it takes; None where it takes any.
    """

    sizes: list[tuple[int | None, ...]]

    def call_values(self, args: Any, kwargs: Any) -> dict[str, Any]:
        """The tensors of a call by the names that a package takes, of as many samples as it takes."""

    def outputs(self, values: dict[str, Any]) -> Any:
        """What the module computes for such tensors, before it is put into an object of the user's."""

    def package(
        self, values: dict[str, Any], sizes: Sequence[tuple[int | None, ...]], path: Path
    ) -> None:
        """Write a package that takes tensors like these.

        Args:
            values: of a call.
            sizes: of each tensor; None where the package takes any.
            path: of the package.

        Raises:
            QuantStageError: when it cannot be compiled.
        """


class PackageShipment:
    """As `Shipment` says, of a `Packable`, which is called once, when that is needed."""

    suffix = ".pt2"
    channels_last = False

    def __init__(self, variant: Variant, model: Packable) -> None:
        self.runtime = f"PyTorch {torch.__version__} (AOTInductor)"
        self._variant, self._model = variant, model
        self._sizes = model.sizes
        self._faults: dict[Path, str | None] = {}  # of what was written last, each tried once

    @cached_property
    def _call(self) -> tuple[dict[str, Any], list[torch.Tensor]]:
        """What a call of the package is given for the first eval batch, and what the model gives."""
        variant, model = self._variant, self._model
        with variant.running():
            seen = only_call(
                model, variant.admitted.first_inputs, variant.subject.forward, "export"
            )
            values = model.call_values(seen.args, seen.kwargs)
            return values, list(tensors_in(model.outputs(values)))

    @property
    def digest(self) -> str:
        """Of weights and outputs: a package has other bytes wherever it is compiled."""
        _, outputs = self._call
        digest = hashlib.blake2b(str(weights_digest(self._model)).encode(), digest_size=16)
        for each in outputs:
            digest.update(tensor_bytes(each))
        return digest.hexdigest()

    @property
    def inputs(self) -> list[Port]:
        """As the protocol says."""
        values, _ = self._call
        tensors = named_tensors((), values, list(values))
        return [
            Port(str(each.name), sizes, str(each.array.dtype))
            for each, sizes in zip(tensors, self._sizes, strict=True)
        ]

    @property
    def outputs(self) -> list[Port]:
        """As the protocol says."""
        _, outputs = self._call
        return [
            Port("", tuple(each.shape), str(each.dtype).removeprefix("torch.")) for each in outputs
        ]

    def names(self, path: Path) -> list[Path]:
        """As the protocol says."""
        return [path]

    def write(self, path: Path) -> list[Path]:
        """As the protocol says: compiled for this CPU and this number of threads.

        AOTInductor lays out the input of an int8 convolution of one channel wrongly where the batch's size
        is free (PyTorch 2.14). What computes something else is compiled for the first eval batch's sizes.

        Raises:
            QuantStageError: when inductor cannot.
        """
        values, _ = self._call
        self._package(values, path)
        sizes = [tuple(tensor.shape) for tensor in tensors_in(values)]
        if sizes != [*self._sizes] and (self.fault(path) or "").startswith(without_us.OTHER_BITS):
            self._sizes = sizes
            self._package(values, path)
            shown = ", ".join(str([*each]) for each in sizes)
            self._variant.notes.append(
                f"{path.name} takes inputs of just the sizes {shown}: compiled for any number of samples, "
                "it gave other outputs than what was judged"
            )
        return [path]

    def _package(self, values: dict[str, Any], path: Path) -> None:
        self._faults.pop(path, None)
        self._model.package(values, self._sizes, path)

    def fault(self, path: Path) -> str | None:
        """As the protocol says; a process is started once for what was written."""
        if path not in self._faults:
            self._faults[path] = self._tried(path)
        return self._faults[path]

    def _tried(self, path: Path) -> str | None:
        values, expected = self._call
        with tempfile.TemporaryDirectory(prefix="pytest-quant-") as folder:
            torch.save(values, Path(folder, "in.pt"))
            threads = self._variant.conditions.threads
            if why := without_us.run(CHECK, path.resolve(), threads, folder):
                return why
            outputs = torch.load(Path(folder, "out.pt"), weights_only=True)
        if [each.shape for each in outputs] != [each.shape for each in expected]:
            return f"{without_us.OTHER_BITS}, and of other shapes"
        if all(map(torch.equal, outputs, expected)):
            return None
        kept = min(map(sqnr, expected, outputs))
        return f"{without_us.OTHER_BITS}, which keep {kept:.1f} dB of what was judged"
