"""Parcel: all that a worker needs to score batches: model, code, data and settings, as bytes."""

import hashlib
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.machine.cpu import has_vnni, isa
from pytest_quant.machine.global_state import GlobalState
from pytest_quant.machine.libraries import own_modules
from pytest_quant.measure.scored import Scoring
from pytest_quant.quantize.saved.variant_file import described
from pytest_quant.runtimes.artefact import Artefact
from pytest_quant.subject.subject import Subject
from pytest_quant.variant.variant import Variant


class NotSpread(Exception):
    """Something cannot be scored on other processes; says why, as the end of a sentence."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """What crosses to a worker.

    Args:
        scoring: metrics, and how the model is called.
        fp32: the FP32 module.
        variant: what `Variant.save` would write, to be built in the worker; None for FP32.
        source: of batches named by their indices; None where batches are sent themselves.
        state: PyTorch's settings at the door.
        threads, seed: as in the run.
        machine: PyTorch's version and what the CPU can do, which decide about bits.
    """

    scoring: Scoring
    fp32: Any
    variant: dict[str, Any] | None
    source: "Source | None"
    state: dict[str, Any]
    threads: int
    seed: int
    machine: tuple[str, str, bool]


@dataclass(frozen=True, slots=True)
class Source:
    """A map-style dataset, of which a worker reads the batches that it is told."""

    dataset: Any
    collate: Any
    init: Any

    def batches(self, indices: list[list[Any]]) -> Iterator[Any]:
        """The batches of these indices, in order."""
        from torch.utils.data import DataLoader

        loader: Any = DataLoader(self.dataset, batch_sampler=indices, collate_fn=self.collate)
        return iter(loader)


@dataclass(frozen=True, slots=True)
class Sent:
    """Bytes of a parcel, or the file that has them, where workers see the same files."""

    digest: str
    data: bytes | None
    path: Path | None

    def read(self) -> bytes:
        """The bytes."""
        return self.data if self.path is None else self.path.read_bytes()  # type: ignore[return-value]


def this_machine() -> tuple[str, str, bool]:
    """What decides about bits."""
    import torch

    return str(torch.__version__), isa(), has_vnni()


def packed(variant: Variant, source: Source | None, folder: Path | None) -> Sent:
    """A variant with what is needed to score it.

    Args:
        variant: FP32, or one that can be saved.
        source: of its batches.
        folder: in which workers look for files; None where the bytes are sent.

    Raises:
        NotSpread: something of it cannot be sent; says what.
    """
    import cloudpickle

    admitted, conditions = variant.admitted, variant.conditions
    subject = variant.subject
    plain = Subject(
        None, subject.label, batch=subject.batch, forward=subject.forward,
        slices=subject.slices if variant.is_fp32 else None,
    )  # fmt: skip
    saved = None
    if not variant.is_fp32:
        if isinstance(variant.model, Artefact):
            raise NotSpread(f"{variant.name} is a file that another runtime runs")
        if variant.recipe is None or not variant.facts.is_known:
            raise NotSpread(f"{variant.name} is made by code of yours, and cannot be saved")
        try:
            with variant.held():
                saved = described(variant.model, variant.recipe, admitted)
        except QuantStageError as error:
            raise NotSpread(error.sentence.rstrip(".")) from None
    parcel = Parcel(
        replace(Scoring.of(variant), subject=plain),
        admitted.module,
        saved,
        source,
        dict(admitted.door.state.values),
        conditions.threads,
        conditions.seed,
        this_machine(),
    )
    try:
        with _own_code_by_value():
            data = cloudpickle.dumps(parcel)
    except Exception as error:
        raise NotSpread(f"it cannot be sent to another process ({in_brief(error)})") from None
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    if folder is None:
        return Sent(digest, data, None)
    path = folder / f"{digest}.parcel"
    path.write_bytes(data)
    return Sent(digest, None, path)


def unpacked(sent: Sent) -> Parcel:
    """What was packed.

    Raises:
        QuantStageError: this process is on another kind of machine, or has another PyTorch.
    """
    import pickle

    parcel = pickle.loads(sent.read())  # of the run that started this very process
    assert isinstance(parcel, Parcel)
    if parcel.machine != this_machine():
        named = ("torch", "instruction set", "VNNI")
        other = [
            f"{name} {own} in place of {theirs}"
            for name, own, theirs in zip(named, this_machine(), parcel.machine, strict=True)
            if own != theirs
        ]
        raise QuantStageError(
            "evaluate",
            f"the worker on {socket.gethostname()} has {', '.join(other)}, so that it would give other "
            "bits. Give --quant-jobs workers of one kind.",
        )
    return parcel


@contextmanager
def _own_code_by_value() -> Iterator[None]:
    """In which classes and functions of the user's modules are sent, not looked for by a worker."""
    import sys

    import cloudpickle

    with ExitStack() as stack:
        for name, _ in own_modules():
            module = sys.modules.get(name)
            if module is not None and module.__name__ == name and name != "__main__":
                cloudpickle.register_pickle_by_value(module)
                stack.callback(cloudpickle.unregister_pickle_by_value, module)
        yield


def settings_of(parcel: Parcel) -> GlobalState:
    """PyTorch's settings at the door."""
    return GlobalState(parcel.state)
