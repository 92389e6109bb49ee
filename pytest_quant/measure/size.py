"""Size: bytes of the tensors that a model needs to run."""

from typing import Any

from pytest_quant.errors import QuantStageError
from pytest_quant.variant.measurements import Size
from pytest_quant.variant.tensors import bytes_of, plain_tensors, state_of, tensors_of
from pytest_quant.variant.variant import Variant


def measure_size(variant: Variant) -> Size:
    """The variant's size.

    Raises:
        QuantStageError: for a callable of a custom recipe that is no module and has no
            ``size_bytes``.
    """
    import torch

    model = variant.model
    if not isinstance(model, torch.nn.Module):
        own = getattr(model, "size_bytes", None)
        if isinstance(own, int):
            return Size(own, None)
        raise QuantStageError(
            "size",
            f"the size of {variant.name} is unknown: its build returned a "
            f"{type(model).__name__}, not a torch.nn.Module. Give it an attribute size_bytes.",
        )
    with variant.running(), torch.inference_mode(False):  # in which wrappers cannot be detached
        file: Any = _Counted()
        torch.save(model.state_dict(), file)
        unregistered = [value for _, value in plain_tensors(model)]
        total = bytes_of([*tensors_of(state_of(model)), *unregistered])
    return Size(total, file.bytes)


class _Counted:
    """A file that keeps nothing but the number of bytes written to it."""

    def __init__(self) -> None:
        self.bytes = 0

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self.bytes += size
        return size

    def flush(self) -> None:
        pass
