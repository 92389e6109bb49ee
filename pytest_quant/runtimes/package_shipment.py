"""Package shipment: a compiled PyTorch module as a package of AOTInductor, which PyTorch alone loads."""

import hashlib
import tempfile
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from pytest_quant.runtimes import without_us
from pytest_quant.runtimes.artefact import named_tensors
from pytest_quant.runtimes.only_call import only_call
from pytest_quant.runtimes.runtime import Port
from pytest_quant.subject.batches import tensors_in
from pytest_quant.subject.weights_digest import tensor_bytes, weights_digest
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

    def package(self, values: dict[str, Any], path: Path) -> None:
        """Write a package that takes tensors like these.

        Raises:
            QuantStageError: when it cannot be compiled.
        """


class PackageShipment:
    """As `Shipment` says, of a `Packable`, to be made inside the variant's `isolated`."""

    suffix = ".pt2"
    channels_last = False

    def __init__(self, variant: Variant, model: Packable) -> None:
        self.runtime = f"PyTorch {torch.__version__} (AOTInductor)"
        self._threads = variant.conditions.threads
        first, forward = variant.admitted.first_inputs, variant.subject.forward
        self._model = model
        with variant.running():
            seen = only_call(model, first, forward, "export")
            self._values = model.call_values(seen.args, seen.kwargs)
            self._expected = list(tensors_in(model.outputs(self._values)))
        self.digest = _digest(model, self._expected)
        tensors = named_tensors((), self._values, list(self._values))
        self.inputs = [
            Port(str(each.name), sizes, str(each.array.dtype))
            for each, sizes in zip(tensors, model.sizes, strict=True)
        ]
        self.outputs = [
            Port("", tuple(each.shape), str(each.dtype).removeprefix("torch."))
            for each in self._expected
        ]

    def names(self, path: Path) -> list[Path]:
        """As the protocol says."""
        return [path]

    def write(self, path: Path) -> list[Path]:
        """As the protocol says: compiled for this CPU and this number of threads.

        Raises:
            QuantStageError: when inductor cannot.
        """
        self._model.package(self._values, path)
        return [path]

    def fault(self, path: Path) -> str | None:
        """As the protocol says."""
        with tempfile.TemporaryDirectory(prefix="pytest-quant-") as folder:
            torch.save(self._values, Path(folder, "in.pt"))
            if why := without_us.run(CHECK, path.resolve(), self._threads, folder):
                return why
            outputs = torch.load(Path(folder, "out.pt"), weights_only=True)
        same = len(outputs) == len(self._expected) and all(
            map(torch.equal, outputs, self._expected)
        )
        return None if same else "it gives other bits there than here"


def _digest(model: Packable, outputs: list[Any]) -> str:
    """Of weights and outputs: a package itself has other bytes wherever it is compiled."""
    digest = hashlib.blake2b(str(weights_digest(model)).encode(), digest_size=16)
    for each in outputs:
        digest.update(tensor_bytes(each))
    return digest.hexdigest()
