"""Observing: observers and fake-quantize modules, of either stack."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

from pytest_quant.errors import QuantStageError
from pytest_quant.machine.torch_api.torch_layers import batchnorm_base


def freeze_observers(prepared: Any) -> None:
    """Let every fake-quantize module keep its range.

    Raises:
        QuantStageError: one cannot, or goes on observing.
    """
    _switch_off(prepared, "disable_observer", "observer_enabled", "goes on observing")


def int8_dtypes() -> list[Any]:
    """The types of at most 8 bits that observers find ranges for; this PyTorch's."""
    import torch

    names = ("quint8", "qint8", "uint8", "int8", "quint4x2")
    return [getattr(torch, name) for name in names if hasattr(torch, name)]


def observing_modules(prepared: Any) -> dict[str, Any]:
    """The observers and fake-quantize modules that a prepared module calls, by name: of activations,
    and in an exported graph of weights too."""
    bases = ("ObserverBase", "FakeQuantizeBase")
    found = {
        name: child
        for name, child in prepared.named_modules(remove_duplicate=False)  # some share one
        if _is_of(child, *bases)
    }
    return {name: child for name, child in found.items() if name.rpartition(".")[0] not in found}


def is_observing(child: Any) -> bool:
    """Whether a module is an observer or a fake-quantize module, torchao's own included."""
    bases = ("ObserverBase", "FakeQuantizeBase", "AffineQuantizedObserverBase", "FakeQuantizerBase")
    return _is_of(child, *bases)


def pass_copies(prepared: Any) -> None:
    """Let every observer and fake-quantize module pass a copy of its values, and round nothing.

    An int8 kernel's outputs are new tensors too: what a model changes in place changes no other tensor.

    Raises:
        QuantStageError: one goes on rounding.
    """
    round_nothing(prepared)
    for child in observing_modules(prepared).values():
        child.register_forward_hook(lambda _module, _args, output: output.clone())


def round_nothing(prepared: Any) -> None:
    """Let every fake-quantize module pass values as they are.

    Raises:
        QuantStageError: one cannot, or goes on rounding.
    """
    _switch_off(prepared, "disable_fake_quant", "fake_quant_enabled", "goes on rounding")


@contextmanager
def trained_scales(prepared: Any) -> Iterator[None]:
    """In which every fake-quantize module tells a conversion the scale that it rounds by.

    PyTorch computes it anew from the range that was seen, and divides a symmetric one by 127.5 where the
    fused module of QAT divides by 127 (`UniformQuantizationObserverBase._calculate_qparams`; and
    `ChooseQuantizationParams` with ``preserve_sparsity``). Weights then come out rounded on another grid
    than the one that they were trained for.
    """
    changed = []
    for _, child in _of_class(prepared, "FakeQuantizeBase"):
        if all(hasattr(child, name) for name in ("calculate_qparams", "scale", "zero_point")):
            child.calculate_qparams = MethodType(_scale_of, child)
            changed.append(child)
    try:
        yield
    finally:
        for child in changed:
            del child.calculate_qparams


def _scale_of(fake: Any, **more: Any) -> tuple[Any, Any]:
    """By what a fake-quantize module rounds, in the types in which its class tells it."""
    computed: tuple[Any, Any] = type(fake).calculate_qparams(fake, **more)
    own = (fake.scale.detach(), fake.zero_point.detach())
    if any(one.shape != other.shape for one, other in zip(own, computed, strict=True)):
        return computed  # it has seen nothing yet
    return own[0].to(computed[0].dtype), own[1].to(computed[1].dtype)


def freeze_batchnorm(prepared: Any) -> None:
    """Let every batch normalization, fused or alone, keep its statistics.

    Raises:
        QuantStageError: one goes on learning.
    """
    for _, child in prepared.named_modules():
        if hasattr(child, "freeze_bn_stats"):
            child.freeze_bn_stats()
    for name, child in prepared.named_modules():
        if isinstance(child, batchnorm_base()):
            inside = prepared.get_submodule(name.rpartition(".")[0])
            if hasattr(inside, "freeze_bn_stats") and child.training:
                raise _lost(name, child, "goes on learning")
            child.eval()


def _switch_off(prepared: Any, method: str, flag: str, otherwise: str) -> None:
    """Call a method of every fake-quantize module, and see that its flag is down."""
    for name, child in _of_class(prepared, "FakeQuantizeBase"):
        _call(name, child, method)
        if bool(getattr(child, flag)[0]):
            raise _lost(name, child, otherwise)


def _of_class(prepared: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Submodules whose class, in either stack, is derived from one of a name."""
    for path, child in prepared.named_modules():
        if _is_of(child, name):
            yield path, child


def _is_of(child: Any, *names: str) -> bool:
    """Whether its class is, or is derived from, one of these names, in either stack."""
    return any(base.__name__ in names for base in type(child).__mro__)


def _call(name: str, child: Any, method: str) -> None:
    if not hasattr(child, method):
        raise _lost(name, child, f"has no {method}() any more")
    getattr(child, method)()


def _lost(name: str, child: Any, what: str) -> QuantStageError:
    return QuantStageError(
        "train",
        f"{type(child).__name__} {name} {what}: this PyTorch is another one than this pytest-quant knows. "
        "Install a version of PyTorch that its metadata allow.",
    )
