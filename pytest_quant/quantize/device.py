"""Device: where the built-in loop trains; whatever is judged runs on the CPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.subject.batches import mapped

CPU = "cpu"


@contextmanager
def on_device(prepared: Any, device: str | None) -> Iterator[None]:
    """The prepared model on a device, and back on the CPU afterwards, whatever happens.

    Args:
        prepared: moved in place, its parameters and buffers too.
        device: as PyTorch calls it, such as ``cuda`` or ``cuda:1``; None for the CPU.

    Raises:
        QuantStageError: when there is no such device, or the model cannot be moved to it.
    """
    if device is None:
        yield
        return
    try:
        prepared.to(device)
    except Exception as error:
        prepared.to(CPU)
        raise QuantStageError(
            "train",
            f"device={device!r} cannot be trained on: {in_brief(error)}. Leave device (or "
            "--quant-train-device) out to train on the CPU.",
        ) from error
    try:
        yield
    finally:
        prepared.to(CPU)


def moved(batch: Any, device: str | None) -> Any:
    """A batch on a device; None for where it is."""
    return batch if device is None else mapped(batch, lambda tensor: tensor.to(device))
