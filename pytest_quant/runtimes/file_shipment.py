"""File shipment: a file of another runtime and those beside it, as they were judged."""

import shutil
import tempfile
from pathlib import Path

import numpy as np

from pytest_quant.errors import QuantStageError
from pytest_quant.runtimes import without_us
from pytest_quant.runtimes.artefact import Artefact, named_tensors
from pytest_quant.runtimes.only_call import only_call
from pytest_quant.runtimes.registry import runtime_of
from pytest_quant.variant.variant import Variant

# The runtime's own lines, then the outputs.
CHECK = """
import sys
import numpy as np
path, threads, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
held = np.load(folder + "/in.npz")
inputs = [held[f"arr_{i}"] for i in range(len(held.files))]
LOADS
np.savez(folder + "/out.npz", *outputs)
"""


class FileShipment:
    """As `Shipment` says, of an `Artefact`."""

    def __init__(self, variant: Variant, model: Artefact) -> None:
        self._variant, self._model = variant, model
        self.runtime, self.suffix = model.runtime, model.path.suffix
        self.inputs, self.outputs = model.fit.inputs, model.fit.outputs
        self.channels_last = model.fit.last
        self.digest = bytes(model.contents.tolist()).hex()

    def names(self, path: Path) -> list[Path]:
        """As the protocol says; those beside the main one keep the names by which it asks for them."""
        source, *others = self._model.files
        if self.suffix == ".xml":  # which asks for its own name
            return [path, *(path.with_suffix(each.suffix) for each in others)]
        return [path, *(path.parent / each.relative_to(source.parent) for each in others)]

    def write(self, path: Path) -> list[Path]:
        """As the protocol says.

        Raises:
            QuantStageError: when the files are others than those that were judged.
        """
        copied = self.names(path)
        self._model.refuse_changed()
        for source, target in zip(self._model.files, copied, strict=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        if not self._model.is_of(copied):  # as of two that go to one place
            raise QuantStageError(
                "export", f"{self._model.path} could not be copied to {path.name} as it was judged."
            )
        return copied

    def fault(self, path: Path) -> str | None:
        """As the protocol says."""
        variant, model = self._variant, self._model
        threads = variant.conditions.threads
        with variant.running():
            seen = only_call(
                model, variant.admitted.first_inputs, variant.subject.forward, "export"
            )
        given = named_tensors(seen.args, seen.kwargs, model.arguments)
        values, _ = model.fit.first_part([each.array for each in given])
        expected = model.session(threads).run(values)
        with tempfile.TemporaryDirectory(prefix="pytest-quant-") as folder:
            np.savez(Path(folder, "in.npz"), *values)
            script = CHECK.replace("LOADS", runtime_of(path).PRODUCTION)
            if why := without_us.run(script, path.resolve(), threads, folder):
                return why
            with np.load(Path(folder, "out.npz")) as held:
                outputs = [held[f"arr_{place}"] for place in range(len(held.files))]
        same = len(outputs) == len(expected) and all(
            one.tobytes() == other.tobytes() for one, other in zip(outputs, expected, strict=True)
        )
        return None if same else without_us.OTHER_BITS
