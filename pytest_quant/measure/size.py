"""Size: bytes of the tensors that a model needs to run."""

from typing import Any

from pytest_quant.errors import QuantStageError, listed
from pytest_quant.measure.held import places_read, unregistered
from pytest_quant.measure.one_call import OneCall, one_call
from pytest_quant.runtimes.artefact import Artefact
from pytest_quant.variant.measurements import MB, Size
from pytest_quant.variant.tensors import bytes_of, state_of, tensors_of, unsaved_in
from pytest_quant.variant.variant import Variant

# Of FP32's bytes: a bit for each parameter. Fewer hold no weights that could compute the same.
LEAST = 1 / 32


def measure_size(variant: Variant) -> Size:
    """The variant's size, of what a call uses; of an artefact that of its files.

    A module of a custom recipe may say it itself, in ``size_bytes``, as a callable must: a session of
    another runtime keeps its weights out of PyTorch's sight.

    Raises:
        QuantStageError: when its weights are nowhere to be seen and it has no ``size_bytes``.
    """
    import torch

    model, is_own = variant.model, not variant.facts.is_known and not variant.is_fp32
    if isinstance(model, Artefact):
        return Size(model.size_bytes, model.size_bytes)
    said = getattr(model, "size_bytes", None) if is_own else None
    if isinstance(said, int) and not isinstance(said, bool) and said > 0:
        return Size(said, None)
    if not isinstance(model, torch.nn.Module):
        raise _unknown(
            variant, f"its build returned a {type(model).__name__}, not a torch.nn.Module"
        )
    if isinstance(model, torch.jit.ScriptModule):
        raise _unknown(
            variant, "its build returned a TorchScript model, which hides packed weights"
        )
    seen, held = one_call(variant), unregistered(variant)
    idle = seen.idle
    with variant.running(), torch.inference_mode(False):  # in which wrappers cannot be detached
        file: Any = _Counted()
        torch.save(model.state_dict(), file)
        total = bytes_of([*_used(model, idle), *held])
    if is_own and total < LEAST * bytes_of(_used(variant.fp32.model, idle)):
        raise _unknown(
            variant,
            f"the tensors of its {type(model).__name__} hold {total} bytes, less than a bit for each of "
            "FP32's parameters, so that its weights must lie elsewhere",
        )
    if variant.is_fp32:
        _tell_idle(variant, seen)
        _tell_unregistered(variant, held, total)
    return Size(total, file.bytes)


def _used(model: Any, idle: tuple[str, ...]) -> list[Any]:
    left_out = tuple(f"{name}." for name in idle)
    state = {k: v for k, v in state_of(model).items() if not k.startswith(left_out)}
    unsaved = [value for name, value in unsaved_in(model) if not name.startswith(left_out)]
    return [*tensors_of(state), *unsaved]


def _tell_idle(fp32: Variant, seen: OneCall) -> None:
    if not (names := seen.idle or seen.maybe_idle):
        return
    needed = sum(bytes_of(tensors_of(state_of(fp32.model.get_submodule(name)))) for name in names)
    which = f"{listed(names, 3, counted=True)}: {needed / MB:.2f} MB that"
    note = f"no call uses {which} are left out of sizes and shares here; delete what does not ship"
    if not seen.idle:
        note = (
            f"the first {seen.looked_at:,} eval batches do not use {which} count all the same, since there "
            "was no time to look at the others; delete what does not ship"
        )
    if note not in fp32.notes:
        fp32.notes.append(note)


def _tell_unregistered(fp32: Variant, held: list[Any], total: int) -> None:
    needed = bytes_of(held)
    if places_read(fp32) is None or needed < LEAST * total:  # as a table of positions
        return
    note = (
        f"quant_model computes with {needed / MB:.2f} MB that are neither its parameters nor its buffers, "
        "such as layers in a plain list: they count in sizes and shares, but state_dict(), eval() and most "
        "flows do not reach them; put layers into torch.nn.ModuleList, tensors into buffers or parameters"
    )
    if note not in fp32.notes:
        fp32.notes.append(note)


def _unknown(variant: Variant, why: str) -> QuantStageError:
    return QuantStageError(
        "size",
        f"the size of {variant.name} is unknown: {why}. Give it an attribute size_bytes.",
    )


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
